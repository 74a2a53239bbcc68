// The proof that a worker knows the secret that its coordinator was given, without saying it.
//
//   proof = HMAC-SHA-256(secret, nonce | encode(hello with a proof of zeros))
//
// It covers the whole hello, and the coordinator's nonce of this connection, so that neither can be used again. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "protocol/messages.h"

namespace rotulus::protocol {

std::array<std::uint8_t, 32> make_proof(std::string_view secret, const Challenge& challenge, const Hello& hello);

// Compares in constant time.
bool is_proven(std::string_view secret, const Challenge& challenge, const Hello& hello);

}  // namespace rotulus::protocol
