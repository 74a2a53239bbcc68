# Opening a connection and keeping it. The coordinator says Challenge, the worker Hello, the coordinator Welcome; or it
# says Refusal and closes.
@0xb44eadc0fa9b1f00;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

using Records = import "records.capnp";

struct Challenge {
  # Coordinator, first on every connection.
  nonce @0 :Data;                 # 32 random bytes, never used twice.
}

struct Hello {
  # Worker: who it is, and the proof that it knows the secret.
  protocolVersion @0 :UInt32;     # Of the whole protocol; another one is refused.
  group @1 :UInt64;               # Drawn by rank 0; the same in all ranks of one mpirun job.
  rank @2 :UInt32;                # Of this process in its group.
  size @3 :UInt32;                # Number of ranks of the group.
  host @4 :Text;                  # Name of its machine.
  pid @5 :UInt64;                 # Of the process on that machine.
  threads @6 :UInt32;             # That compute.
  model @7 :Records.ModelFacts;   # What it has loaded; must be the same in all ranks.
  parameters @8 :Records.ContextParameters;         # What it would give a new context; the same in all ranks.
  volumes @9 :List(Records.VolumeState);            # That it holds.
  failedVolumes @10 :List(Records.VolumeFailure);   # That it was told to hold and could not open.
  proof @11 :Data;                # 32 bytes: HMAC-SHA-256(secret, nonce | this message with a proof of zeros);
                                  # zeros where no secret is set.
  rates @12 :List(Records.MachineRate);             # Of its machine.
}

struct Welcome {
  # Coordinator: the worker is a member.
  epoch @0 :UInt64;               # Of this life of the group; in the header of every frame from now on.
  store @1 :UInt64;               # The coordinator's store.
  catalogueSequence @2 :UInt64;   # Where its catalogue stands.
}

struct Refusal {
  # Coordinator: the worker is not a member, and why. The connection is closed behind it.
  code @0 :Records.ErrorCode;     # The kind of reason.
  message @1 :Text;               # The reason, for the operator of the worker.
}

struct Ping {
  # Coordinator, every half second.
  sequence @0 :UInt64;            # Echoed in the Pong.
}

struct Pong {
  # Worker. A peer that is silent for the lease counts as lost.
  sequence @0 :UInt64;            # Of the Ping.
  stats @1 :Records.WorkerStats;  # As they are now.
  volumes @2 :List(Records.VolumeState);            # That it holds, as they are now.
}

struct Wake {
  # Coordinator, to every rank but 0, before each message of work to rank 0: a parked rank leaves its park.
  work @0 :UInt64;                # Counts the messages of work since the Welcome.
}

struct Drain {
  # Coordinator, to all: finish nothing new, and exit with 0 when the work at hand is done.
}
