// Messages and records to bytes (Cap'n Proto, one flat array, not packed) and back.
//
// Decoding never trusts its input: traversal and nesting limits are set, every count is checked against limits.h, and
// anything that does not fit is Error{invalid_argument} naming the field; encoding checks the same limits. The same
// value always gives the same bytes, so that a stored record can be named by its hash. Pure; safe anywhere.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "protocol/messages.h"

namespace rotulus::protocol {

std::vector<std::byte> encode(const Message& message);
Message decode(std::span<const std::byte> bytes);

// Records as they are stored: the same schema, no framing.
std::vector<std::byte> encode_record(const ManifestRecord& record);
ManifestRecord decode_manifest_record(std::span<const std::byte> bytes);
std::vector<std::byte> encode_record(const ObjectRecord& record);
ObjectRecord decode_object_record(std::span<const std::byte> bytes);
std::vector<std::byte> encode_record(const ContextParameters& parameters, const ContextDescription& description);
void decode_context_record(std::span<const std::byte> bytes, ContextParameters& parameters,
                           ContextDescription& description);

}  // namespace rotulus::protocol
