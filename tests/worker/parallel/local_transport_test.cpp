// Groups of threads run random scripts of exchanges whose contents every rank can compute; then peers are lost or late.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <exception>
#include <functional>
#include <thread>

#include "protocol/error.h"
#include "tests/worker/parallel/exchange_patterns.h"

namespace rotulus::worker {
namespace {

using namespace std::chrono_literals;
using protocol::Error;
using protocol::ErrorCode;
using Group = std::vector<std::unique_ptr<Transport>>;

// What each rank's `body` threw, in words; "" for nothing.
std::vector<std::string> run_ranks(Group& group, const std::function<void(Transport&)>& body) {
  std::vector<std::string> errors(group.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < group.size(); ++rank) {
      threads.emplace_back([&, rank] {
        try {
          body(*group[rank]);
        } catch (const Error& error) {
          errors[rank] = fmt::format("{}: {}", to_string(error.code()), error.message());
        } catch (const std::exception& error) {
          errors[rank] = error.what();
        }
      });
    }
  }
  return errors;
}

RC_GTEST_PROP(LocalTransport, CarriesRandomScriptsUnchangedUnderDelays, ()) {
  const auto size = *rc::gen::inRange<std::uint32_t>(1, 6);
  const LocalFaults faults{.max_delay = std::chrono::microseconds(*rc::gen::inRange(0, 300)),
                           .seed = *rc::gen::arbitrary<std::uint64_t>()};
  const auto script = *rc::gen::container<std::vector<ExchangeRound>>(rc::gen::construct<ExchangeRound>(
      rc::gen::map(rc::gen::inRange(0, 5), [](int kind) { return static_cast<ExchangeRound::Kind>(kind); }),
      rc::gen::arbitrary<std::uint64_t>(), rc::gen::element<std::size_t>(0, 1, 100, 20'000)));
  Group group = make_local_transports(size, faults);
  const auto errors = run_ranks(group, [&](Transport& transport) {
    for (const ExchangeRound& round : script) run_round(transport, round);
  });
  RC_ASSERT(errors == std::vector<std::string>(size));
}

TEST(LocalTransport, CutsMessagesLongerThanTheRingMessage) {
  Group group = make_local_transports(2);
  const auto errors = run_ranks(group, [](Transport& transport) {
    for (const auto kind :
         {ExchangeRound::Kind::broadcast, ExchangeRound::Kind::gather, ExchangeRound::Kind::exchange}) {
      run_round(transport, {kind, 5, 3 * protocol::kRingMessageBytes});
    }
  });
  EXPECT_EQ(errors, std::vector<std::string>(2));
  // One message of just the limit and one of a byte more arrive as such.
  for (const std::size_t bytes : {protocol::kRingMessageBytes, protocol::kRingMessageBytes + 1}) {
    run_ranks(group, [&](Transport& transport) {
      std::vector<std::byte> text(transport.rank() == 0 ? bytes : 0, std::byte{9});
      broadcast(transport, 0, text);
      EXPECT_EQ(text.size(), bytes);
      EXPECT_EQ(text.back(), std::byte{9});
    });
  }
}

TEST(LocalTransport, EndsEveryWaitThatInvolvesALostRank) {
  Group group = make_local_transports(4);
  const std::vector<std::string> errors = run_ranks(group, [&](Transport& transport) {
    if (transport.rank() == 2) return lose_rank(transport, 2);
    std::vector<std::byte> bytes(8);
    const auto ticket = transport.post_receive(2, kFirstFreeTag, bytes);
    transport.wait({&ticket, 1}, 20s);
  });
  for (const std::uint32_t rank : {0u, 1u, 3u}) {
    EXPECT_NE(errors[rank].find("transport_lost"), std::string::npos) << errors[rank];
    EXPECT_NE(errors[rank].find("rank 2 is lost"), std::string::npos) << errors[rank];
  }
}

TEST(LocalTransport, NamesThePeerAndTheDeadlineWhenNothingComes) {
  Group group = make_local_transports(3);
  std::vector<std::byte> bytes(24);
  const auto ticket = group[1]->post_receive(2, 77, bytes);
  try {
    group[1]->wait({&ticket, 1}, 20ms);
    FAIL() << "nothing was sent, yet the wait ended";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::transport_lost);
    EXPECT_EQ(
        error.message(),
        "rank 1 of 3 gave up awaiting a message of rank 2 (tag 77, 24 bytes, deadline 20 ms): the deadline passed "
        "without a sign of its work");
  }
}

// Rank 0 waits for rank 1, which waits for rank 2, which computes for three deadlines: the work of rank 2 must count
// for rank 1 at rank 0.
TEST(LocalTransport, WaitsWhileTheRankAtTheEndOfTheChainComputes) {
  constexpr auto kDeadline = 300ms;
  Group group = make_local_transports(3, {.beacon_interval = 10ms});
  const auto errors = run_ranks(group, [&](Transport& transport) {
    std::vector<std::byte> bytes(1);
    if (transport.rank() == 2) {
      const auto end = std::chrono::steady_clock::now() + 3 * kDeadline;
      while (std::chrono::steady_clock::now() < end) {
        transport.progress();
        std::this_thread::sleep_for(1ms);
      }
    } else {
      const auto ticket = transport.post_receive(transport.rank() + 1, kFirstFreeTag, bytes);
      transport.wait({&ticket, 1}, kDeadline);
    }
    if (transport.rank() > 0) {
      const auto ticket = transport.post_send(transport.rank() - 1, kFirstFreeTag, bytes);
      transport.wait({&ticket, 1}, kDeadline);
    }
  });
  EXPECT_EQ(errors, std::vector<std::string>(3));
}

TEST(LocalTransport, EndsACircleOfRanksThatWaitForEachOther) {
  Group group = make_local_transports(3, {.beacon_interval = 1ms});
  const auto errors = run_ranks(group, [](Transport& transport) {
    transport.progress();
    std::vector<std::byte> bytes(1);
    const auto ticket = transport.post_receive((transport.rank() + 1) % 3, kFirstFreeTag, bytes);
    transport.wait({&ticket, 1}, 50ms);
  });
  for (const std::string& error : errors) EXPECT_NE(error.find("transport_lost"), std::string::npos) << error;
}

TEST(LocalTransportDeathTest, ChecksThatBothSidesAgreeOnTheSize) {
  Group group = make_local_transports(1);
  std::vector<std::byte> sent(3), got(4);
  group[0]->post_send(0, kFirstFreeTag, sent);
  const auto ticket = group[0]->post_receive(0, kFirstFreeTag, got);
  EXPECT_DEATH(group[0]->is_done(ticket), "CHECK failed");
}

TEST(LocalTransportDeathTest, ChecksThatATicketIsSpentOnce) {
  Group group = make_local_transports(1);
  const auto ticket = group[0]->post_send(0, kFirstFreeTag, {});
  group[0]->wait({&ticket, 1}, 1s);
  group[0]->post_send(0, kFirstFreeTag, {});  // takes the slot
  EXPECT_DEATH(group[0]->is_done(ticket), "CHECK failed");
}

TEST(NcclTransport, IsAbsentWhereItWasNotBuilt) {
  EXPECT_EQ(make_nccl_transport(), nullptr);
}

}  // namespace
}  // namespace rotulus::worker
