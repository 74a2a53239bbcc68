// Random values of every message and record, for properties. Called inside one, as `*rc::gen::…` is.
//
// They keep to what messages.h promises (placements ascend, a manifest has the token ids of its range), and new fields
// are covered without a word here: arbitrary_messages.cpp walks over the fields of a struct.
#pragma once

#include <optional>

#include "protocol/messages.h"

namespace rotulus::protocol {

// One of the kind with this number in Message's variant; its fields are random.
Message arbitrary_message(std::size_t kind);
ManifestRecord arbitrary_manifest_record();
ObjectRecord arbitrary_object_record();
ContextParameters arbitrary_context_parameters();
ContextDescription arbitrary_context_description();

}  // namespace rotulus::protocol
