#include "memory_store/tiers/rocksdb/readable_keys.h"

#include <optional>
#include <string_view>

namespace rotulus::memory_store {
namespace {

using MakeIterator = std::function<std::unique_ptr<rocksdb::Iterator>()>;

// A place among keys: the first 16 bytes of one, as a number.
__extension__ using Position = unsigned __int128;

Position position_of(std::string_view key) {
  Position position = 0;
  for (std::size_t i = 0; i < sizeof(Position); ++i) {
    position = position << 8 | (i < key.size() ? static_cast<unsigned char>(key[i]) : 0);
  }
  return position;
}

// The lowest key there.
std::string key_at(Position position) {
  std::string key(sizeof(Position), '\0');
  for (auto byte = key.rbegin(); byte != key.rend(); ++byte, position >>= 8) *byte = static_cast<char>(position & 0xff);
  return key.erase(key.find_last_not_of('\0') + 1);
}

// Seeks past damage: it hides the keys of a data block, and a seek that ends in it fails.
class ReadableKeys final {
 public:
  explicit ReadableKeys(const MakeIterator& make_iterator)
      : make_iterator_(make_iterator), iterator_(make_iterator_()) {}

  // The first key of [begin, end] that can be read. The place where seeks succeed again is found by leaps of doubled
  // length and bisection of the last.
  std::optional<std::string> find(const std::string& begin, const std::string& end) {
    const Position first = position_of(begin);
    if (can_read(first)) return key_until(end);
    const Position rest = position_of(end) - first;
    Position hidden = 0, readable = 1;  // as distances from `first`
    while (readable < rest && !can_read(first + readable)) {
      hidden = readable;
      readable = readable <= rest / 2 ? 2 * readable : rest;
    }
    while (readable - hidden > 1) {
      const Position middle = hidden + (readable - hidden) / 2;
      (can_read(first + middle) ? readable : hidden) = middle;
    }
    can_read(first + readable);
    return key_until(end);
  }

 private:
  bool can_read(Position position) {
    // One that has met damage may report it elsewhere too: RocksDB 7.8 keeps the failed block when a seek goes back to
    // the block before.
    if (!iterator_->status().ok()) iterator_ = make_iterator_();
    iterator_->Seek(key_at(position));
    return iterator_->status().ok();
  }
  std::optional<std::string> key_until(const std::string& end) const {
    if (!iterator_->Valid()) return std::nullopt;
    std::string key = iterator_->key().ToString();
    if (key > end) return std::nullopt;
    return key;
  }

  const MakeIterator& make_iterator_;
  std::unique_ptr<rocksdb::Iterator> iterator_;
};

}  // namespace

void add_readable_prefixes(const MakeIterator& make_iterator, const KeyBounds& bounds, std::size_t length,
                           std::set<std::string>& prefixes) {
  ReadableKeys keys(make_iterator);
  std::optional<std::string> key = keys.find(bounds.first, bounds.last);
  while (key) {
    const std::string prefix = key->substr(0, length);
    prefixes.insert(prefix);
    if (bounds.last.starts_with(prefix)) return;
    key = keys.find(prefix + kAfterEveryKey, bounds.last);
  }
}

}  // namespace rotulus::memory_store
