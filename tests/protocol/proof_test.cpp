// The proof is recomputed by hand from its definition, then each of its parts is changed.
#include "protocol/proof.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>

#include "protocol/codec.h"

namespace rotulus::protocol {
namespace {

TEST(Proof, IsTheHmacOfTheNonceAndTheUnprovenHello) {
  Challenge challenge;
  challenge.nonce.fill(9);
  Hello hello{.group = 3, .rank = 1, .size = 2, .host = "h"};
  const auto encoded = encode(hello);
  std::vector<unsigned char> text(32 + encoded.size(), 9);
  std::memcpy(text.data() + 32, encoded.data(), encoded.size());
  std::array<std::uint8_t, 32> expected;
  unsigned length = 0;
  HMAC(EVP_sha256(), "key", 3, text.data(), text.size(), expected.data(), &length);
  EXPECT_EQ(make_proof("key", challenge, hello), expected);
  hello.proof = expected;
  EXPECT_EQ(make_proof("key", challenge, hello), expected) << "the proof does not cover itself";
  EXPECT_TRUE(is_proven("key", challenge, hello));
  EXPECT_FALSE(is_proven("kez", challenge, hello));
  hello.rank = 0;
  EXPECT_FALSE(is_proven("key", challenge, hello));
  hello.rank = 1;
  challenge.nonce[31] = 8;
  EXPECT_FALSE(is_proven("key", challenge, hello));
}

}  // namespace
}  // namespace rotulus::protocol
