#include "protocol/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <vector>

#include "protocol/codec.h"
#include "protocol/error.h"

namespace rotulus::protocol {

std::array<std::uint8_t, 32> make_proof(std::string_view secret, const Challenge& challenge, const Hello& hello) {
  Hello unproven = hello;
  unproven.proof = {};
  std::vector<std::byte> text(challenge.nonce.size());
  std::memcpy(text.data(), challenge.nonce.data(), text.size());
  const std::vector<std::byte> encoded = encode(unproven);
  text.insert(text.end(), encoded.begin(), encoded.end());
  std::array<std::uint8_t, 32> proof{};
  unsigned length = 0;
  const auto* result = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                            reinterpret_cast<const unsigned char*>(text.data()), text.size(), proof.data(), &length);
  CHECK(result != nullptr && length == proof.size(), length);
  return proof;
}

bool is_proven(std::string_view secret, const Challenge& challenge, const Hello& hello) {
  const auto expected = make_proof(secret, challenge, hello);
  return CRYPTO_memcmp(expected.data(), hello.proof.data(), expected.size()) == 0;
}

}  // namespace rotulus::protocol
