// Which keys there are in a database, or in one table of it, of which a part is damaged.
#pragma once

#include <rocksdb/iterator.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>

namespace rotulus::memory_store {

inline const std::string kAfterEveryKey(16, '\xff');

struct KeyBounds {
  std::string first, last;  // both are in
};

// Adds the prefixes, of `length` bytes, of the keys that can be read. A damaged data block hides the keys in it and
// none behind it; keys are told apart by their first 16 bytes. Of a healthy table it reads a data block for each
// prefix.
void add_readable_prefixes(const std::function<std::unique_ptr<rocksdb::Iterator>()>& make_iterator,
                           const KeyBounds& bounds, std::size_t length, std::set<std::string>& prefixes);

}  // namespace rotulus::memory_store
