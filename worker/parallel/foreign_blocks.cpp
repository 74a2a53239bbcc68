#include "worker/parallel/foreign_blocks.h"

#include <cstring>
#include <type_traits>

#include "worker/parallel/exchange.h"

namespace rotulus::worker {
namespace {

using memory_store::BlockAddress;
static_assert(std::is_trivially_copyable_v<BlockAddress>);  // travels between ranks of one build as it is

// Answer to one address: code 0 and the block with its header, or another code and a message of wire_bytes at most.
struct AnswerHeader {
  std::uint32_t failed = 0;
  std::uint32_t code = 0;
  std::uint64_t bytes = 0;
};

void append_bytes(std::vector<std::byte>& to, const void* data, std::size_t count) {
  const auto* from = static_cast<const std::byte*>(data);
  to.insert(to.end(), from, from + count);
}

std::vector<std::byte> serve(const GroupSetting& group, std::span<const std::byte> request) {
  std::vector<std::byte> answer;
  for (std::size_t at = 0; at + sizeof(BlockAddress) <= request.size(); at += sizeof(BlockAddress)) {
    BlockAddress address;
    std::memcpy(&address, request.data() + at, sizeof address);
    try {
      const std::vector<std::byte> block = group.store.read(address);
      const AnswerHeader header{0, 0, block.size()};
      append_bytes(answer, &header, sizeof header);
      append_bytes(answer, block.data(), block.size());
    } catch (const protocol::Error& error) {
      const AnswerHeader header{1, static_cast<std::uint32_t>(error.code()), error.message().size()};
      append_bytes(answer, &header, sizeof header);
      append_bytes(answer, error.message().data(), error.message().size());
    }
  }
  return answer;
}

std::optional<AttentionFailure> take(const GroupSetting& group, std::span<const BlockAddress> asked,
                                     std::span<const std::byte> answer, std::vector<memory_store::PinnedBlocks>& held) {
  std::optional<AttentionFailure> failure;
  for (const BlockAddress& address : asked) {
    AnswerHeader header;
    CHECK(answer.size() >= sizeof header, answer.size());
    std::memcpy(&header, answer.data(), sizeof header);
    answer = answer.subspan(sizeof header);
    CHECK(answer.size() >= header.bytes, answer.size(), header.bytes);
    const auto body = answer.first(header.bytes);
    answer = answer.subspan(header.bytes);
    if (header.failed != 0) {
      const auto code = static_cast<protocol::ErrorCode>(header.code);
      const bool is_damage = code == protocol::ErrorCode::storage_corrupt;
      failure = AttentionFailure{code, std::string(reinterpret_cast<const char*>(body.data()), body.size()),
                                 is_damage ? address.object : protocol::ObjectId{}};
      continue;
    }
    try {
      held.push_back(group.store.insert(address, body));
    } catch (const protocol::Error& error) {
      failure = AttentionFailure{error.code(), error.message(), {}};
    }
  }
  return failure;
}

}  // namespace

std::optional<AttentionFailure> fetch_foreign_blocks(const GroupSetting& group,
                                                     std::span<const memory_store::BlockAddress> wanted,
                                                     std::vector<memory_store::PinnedBlocks>& held) {
  held.push_back(group.store.pin_resident(wanted));
  const std::uint32_t size = group.transport.size();
  std::vector<std::vector<BlockAddress>> asked(size);
  for (const BlockAddress& address : group.store.missing(wanted)) {
    const auto holder = group.holders.find(address.volume);
    if (holder != group.holders.end()) asked[holder->second].push_back(address);  // else pin() says unavailable
  }
  std::vector<std::vector<std::byte>> requests(size);
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    append_bytes(requests[rank], asked[rank].data(), asked[rank].size() * sizeof(BlockAddress));
  }
  std::vector<std::vector<std::byte>> answers;
  for (const auto& request : exchange_unsized(group.transport, requests)) answers.push_back(serve(group, request));
  const auto received = exchange_unsized(group.transport, answers);
  std::optional<AttentionFailure> failure;
  for (std::uint32_t rank = 0; rank < size; ++rank) {
    if (auto failed = take(group, asked[rank], received[rank], held)) failure = std::move(failed);
  }
  return failure;
}

std::optional<AttentionFailure> pin_blocks(const GroupSetting& group, std::span<const BlockAddress> addresses,
                                           memory_store::PinnedBlocks& pinned) {
  try {
    pinned = group.store.pin(addresses);
    return std::nullopt;
  } catch (const protocol::Error& error) {
    const bool is_damage = error.code() == protocol::ErrorCode::storage_corrupt;
    return AttentionFailure{error.code(), error.message(),
                            is_damage ? group.store.last_damage().address.object : protocol::ObjectId{}};
  }
}

}  // namespace rotulus::worker
