// Who may join: the proof of the shared secret, and what all ranks of a group must have in common. Pure but for the
// random nonce.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "protocol/messages.h"

namespace rotulus::coordinator {

protocol::Challenge make_challenge();

// Why a hello is turned away whatever the others said: version, proof (compared in constant time), impossible numbers.
// An empty secret: none was asked for.
std::optional<protocol::Refusal> find_refusal(std::string_view secret, const protocol::Challenge& challenge,
                                              const protocol::Hello& hello);

// Why `hello` cannot be of one group with `other`, which is in it already: the first field that differs.
std::optional<protocol::Refusal> find_difference(const protocol::Hello& other, const protocol::Hello& hello);

}  // namespace rotulus::coordinator
