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

struct ReadSlice {
  # Coordinator: send what a volume has of one layer of one stripe of an object, read from the disk: a slice.
  call @0 :UInt64;                # Echoed.
  volume @1 :UInt64;              # Which volume.
  object @2 :UInt64;              # Which object.
  manifestHash @3 :UInt64;        # The hash that the catalogue has of this volume's manifest record.
  stripe @4 :UInt64;              # Which stripe of the context.
  layer @5 :UInt32;               # Which layer.
}

struct SliceRead {
  # Worker: answers ReadSlice, in one or more parts.
  call @0 :UInt64;                # Of the ReadSlice.
  bytes @1 :Data;                 # Blocks as they are stored, one behind the other; behind those of the part before.
  blockCount @2 :UInt32;          # How many blocks the slice has.
  objectBlockCount @3 :UInt32;    # How many were written of the object on this volume.
  isLast @4 :Bool;                # The slice is complete; a failure always is.
  error :union {
    # Whether it could be read.
    none @5 :Void;                # It could.
    code @6 :Records.ErrorCode;   # It could not, in this way.
  }
  message @7 :Text;               # Of the failure; else "".
}

struct WriteSlice {
  # Coordinator: make a slice of another store's object part of this object.
  call @0 :UInt64;                # Echoed, behind the last part.
  volume @1 :UInt64;              # Which volume.
  object @2 :UInt64;              # A fresh object.
  stripe @3 :UInt64;              # Which stripe of the context.
  layer @4 :UInt32;               # Which layer.
  bytes @5 :Data;                 # As SliceRead gave them.
  isLast @6 :Bool;                # The slice is complete.
}

struct CommitObject {
  # Coordinator: all slices of the object on this volume are written; write its manifest record, synced.
  call @0 :UInt64;                # Echoed.
  record @1 :Records.ManifestRecord;                # Complete but for what tells of its blocks.
  catalogueSequence @2 :UInt64;   # Where the catalogue stands.
}

struct SliceWritten {
  # Worker: answers the last part of a WriteSlice, and CommitObject.
  call @0 :UInt64;                # Of either.
  blockCount @1 :UInt32;          # Of the slice; of a CommitObject: of the object on its volume.
  manifestHash @2 :UInt64;        # Of a CommitObject.
  error :union {
    # Whether it failed; then the object is to be erased.
    none @3 :Void;                # It did not.
    code @4 :Records.ErrorCode;   # It did, in this way.
  }
  message @5 :Text;               # Of the failure; else "".
}
