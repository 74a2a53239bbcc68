// Keys sort as the numbers in them, and a manifest is read only where it is whole and in its own place.
#include "memory_store/manifest.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <tuple>

#include "tests/memory_store/support.h"

namespace rotulus::memory_store {
namespace {

BlockAddress any_address() {
  return {.object = {*rc::gen::arbitrary<std::uint64_t>()},
          .layer = *rc::gen::inRange<std::uint32_t>(0, 65536),
          .block = *rc::gen::arbitrary<std::uint32_t>(),
          .kind = *rc::gen::element(BlockKind::kv, BlockKind::landmarks, BlockKind::bounds)};
}

// KV by block and then layer, landmarks behind them by layer and then block.
RC_GTEST_PROP(Keys, SortAsTheNumbersInThem, ()) {
  const BlockAddress a = any_address();
  BlockAddress b = any_address();
  if (*rc::gen::arbitrary<bool>()) b.object = a.object;
  if (*rc::gen::arbitrary<bool>()) b.block = a.block;
  if (*rc::gen::arbitrary<bool>()) b.layer = a.layer;
  const auto order = [](const BlockAddress& x) {
    const bool is_kv = x.kind == BlockKind::kv;
    return std::tuple(x.object, x.kind, is_kv ? x.block : x.layer, is_kv ? x.layer : x.block);
  };
  RC_ASSERT((order(a) < order(b)) == (block_key(a) < block_key(b)));
  RC_ASSERT(block_key(a).size() == kBlockKeyBytes);
  RC_ASSERT(object_of_key(block_key(a)) == a.object);
  RC_ASSERT(object_of_key(manifest_key(a.object)) == a.object);
}

RC_GTEST_PROP(Keys, OfAnObjectLieInItsRange, ()) {
  const BlockAddress address = any_address();
  RC_PRE(address.object.value != ~std::uint64_t{0});
  const ObjectId next{address.object.value + 1};
  RC_ASSERT(object_begin(address.object) < block_key(address));
  RC_ASSERT(object_begin(address.object) < manifest_key(address.object));
  RC_ASSERT(block_key(address) < object_begin(next));
  RC_ASSERT(manifest_key(address.object) < object_begin(next));
  RC_ASSERT(block_key(address) != manifest_key(address.object));
}

TEST(Manifest, IsReadOnlyWhereItIsWholeAndItsOwn) {
  const VolumeId volume{77};
  const protocol::ManifestRecord record = make_record({.id = {9}}, volume);
  const StoredManifest stored = store_manifest(record);
  const auto read = read_manifest(stored.value, {9}, volume);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->record, record);
  EXPECT_EQ(read->hash, stored.hash);
  EXPECT_FALSE(read_manifest(stored.value, {10}, volume));
  EXPECT_FALSE(read_manifest(stored.value, {9}, {78}));
  for (std::size_t bit = 0; bit < stored.value.size() * 8; bit += bit < 512 ? 1 : 13) {
    std::vector<std::byte> changed = stored.value;
    changed[bit / 8] ^= std::byte(1 << bit % 8);
    ASSERT_FALSE(read_manifest(changed, {9}, volume)) << "bit " << bit;
  }
  for (std::size_t length = 0; length < stored.value.size(); length += 7) {
    ASSERT_FALSE(read_manifest(std::span(stored.value).first(length), {9}, volume)) << length;
  }
}

TEST(Manifest, HashOfBlocksKnowsTheirKeysAndChecksums) {
  BlocksHash one, other, changed;
  one.add(block_key({.object = {1}, .layer = 2, .block = 3}), 4);
  other.add(block_key({.object = {1}, .layer = 3, .block = 2}), 4);
  changed.add(block_key({.object = {1}, .layer = 2, .block = 3}), 5);
  EXPECT_NE(one.value(), other.value());
  EXPECT_NE(one.value(), changed.value());
}

}  // namespace
}  // namespace rotulus::memory_store
