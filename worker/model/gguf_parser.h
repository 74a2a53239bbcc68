// Bytes of a GGUF file into its metadata and tensor table, without trusting any of them.
//
// Every number in the file is a claim. A length is compared with the bytes that are left before anything of that
// length is read or allocated; sums and products are checked for overflow; what a whole file may make us allocate is
// bounded by kMaxGgufEntries and kMaxGgufArrayBytes (limits.h).
//
//   header    magic "GGUF", u32 version, u64 tensor count, u64 key count
//   metadata  key count × (string key, u32 value type, value)          string: u64 length, bytes
//   tensors   tensor count × (string name, u32 n, n × u64 shape, u32 type, u64 offset)
//   data      starts at the next multiple of general.alignment (32 if absent); offsets count from there
//
// Source: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/model/gguf_file.h"

namespace rotulus::worker {

struct GgufContent {
  std::uint32_t version = 0;
  std::map<std::string_view, GgufValue> metadata;
  std::vector<GgufTensor> tensors;  // in file order; names are distinct, bytes do not overlap
};

// Views in the result point into `bytes`. Errors: as GgufFile.
GgufContent parse_gguf(std::span<const std::byte> bytes);

// `text` from a file in the form in which messages show it: in quotes, shortened, with control characters escaped.
std::string quote(std::string_view text);

}  // namespace rotulus::worker
