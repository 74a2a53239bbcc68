#include "coordinator/prefix_keys.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "protocol/codec.h"
#include "protocol/error.h"

namespace rotulus::coordinator {
namespace {

PrefixKey sha256(std::span<const std::uint8_t> before, std::span<const std::byte> behind) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  PrefixKey key;
  const bool is_done = digest && EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) == 1 &&
                       EVP_DigestUpdate(digest.get(), before.data(), before.size()) == 1 &&
                       EVP_DigestUpdate(digest.get(), behind.data(), behind.size()) == 1 &&
                       EVP_DigestFinal_ex(digest.get(), key.data(), nullptr) == 1;
  CHECK(is_done, before.size(), behind.size());
  return key;
}

PrefixKey next_prefix(const std::vector<PrefixKey>& before, std::span<const protocol::TokenId> chunk) {
  const auto last = before.empty() ? std::span<const std::uint8_t>() : std::span<const std::uint8_t>(before.back());
  return sha256(last, std::as_bytes(chunk));
}

}  // namespace

void PrefixChain::append(std::span<const protocol::TokenId> ids) {
  while (!ids.empty()) {
    const std::size_t count = std::min<std::size_t>(ids.size(), protocol::kChunkTokens - rest_.size());
    rest_.insert(rest_.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
    ids = ids.subspan(count);
    if (rest_.size() < protocol::kChunkTokens) return;
    prefixes_.push_back(next_prefix(prefixes_, rest_));
    rest_.clear();
  }
}

std::vector<PrefixKey> PrefixChain::keys(const protocol::ContextParameters& parameters) const {
  // Compared within this process only, so any encoding will do that tells all fields apart.
  const std::vector<std::byte> fields = protocol::encode_record(parameters, protocol::ContextDescription{});
  std::vector<PrefixKey> prefixes = prefixes_;
  if (!rest_.empty()) prefixes.push_back(next_prefix(prefixes_, rest_));
  std::vector<PrefixKey> keys;
  keys.reserve(prefixes.size());
  for (const PrefixKey& prefix : prefixes) keys.push_back(sha256(prefix, fields));
  return keys;
}

}  // namespace rotulus::coordinator
