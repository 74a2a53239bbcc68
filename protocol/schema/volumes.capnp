# Volumes, spoken of with the rank that holds them.
@0xf2f7ccefccc65ba0;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

using Records = import "records.capnp";

struct LiveObject {
  # An object that the catalogue names.
  object @0 :UInt64;              # Its id.
  manifestHash @1 :UInt64;        # The hash that the catalogue has of this volume's manifest record.
}

struct ReconcileVolume {
  # Coordinator: the live objects of a volume, in pieces. With the last piece the worker adopts an unowned volume,
  # erases what is not listed, and answers. A volume of another store, or one that saw a later sequence, is refused and
  # nothing on it is touched.
  volume @0 :UInt64;              # Which volume.
  store @1 :UInt64;               # The coordinator's store.
  catalogueSequence @2 :UInt64;   # Where its catalogue stands.
  live @3 :List(LiveObject);      # A piece of the list.
  isLast @4 :Bool;                # The list is complete.
}

struct VolumeReconciled {
  # Worker: answers the last piece of a ReconcileVolume.
  volume @0 :UInt64;              # Which volume.
  damaged @1 :List(UInt64);       # Objects that are live, but absent here or with another hash.
  collectedObjects @2 :UInt64;    # How many were garbage, and are erased.
  refused :union {
    # Whether it was refused.
    none @3 :Void;                # It was not.
    reason @4 :Text;              # It was, for this reason, and nothing was touched.
  }
}

struct ListManifests {
  # Coordinator: asks for all manifest records of a volume, to rebuild a catalogue.
  volume @0 :UInt64;              # Which volume.
}

struct ManifestPage {
  # Worker: answers ListManifests in pages.
  volume @0 :UInt64;              # Which volume.
  records @1 :List(Records.ManifestRecord);         # As many as fit one frame.
  hashes @2 :List(UInt64);        # XXH3-64 of each as it is stored; as many as records.
  isLast @3 :Bool;                # There are no more pages.
}

struct EraseObjects {
  # Coordinator, to every rank, after the catalogue's batch was synced: these objects are dead.
  objects @0 :List(UInt64);       # Their ids; unknown ones are fine.
  catalogueSequence @1 :UInt64;   # Of that batch.
}

struct VerifyObject {
  # Coordinator: read what a volume has of an object as it lies on the disk, beside everything else. One at a time for
  # each volume.
  volume @0 :UInt64;              # Which volume.
  object @1 :UInt64;              # Which object.
  manifestHash @2 :UInt64;        # The hash that the catalogue has of this volume's manifest record.
}

struct ObjectVerified {
  # Worker: answers VerifyObject.
  volume @0 :UInt64;              # Which volume.
  object @1 :UInt64;              # Which object.
  blocksVerified @2 :UInt64;      # As they were written.
  blocksDamaged @3 :UInt64;       # Absent, or not as they were written; a damaged manifest record counts as one.
  failure :union {
    # Whether it could be told.
    none @4 :Void;                # It could.
    reason @5 :Text;              # It could not, for this reason; the counts mean nothing.
  }
}
