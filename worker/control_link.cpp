#include "worker/control_link.h"

#include <algorithm>
#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "protocol/error.h"
#include "protocol/framing.h"
#include "protocol/proof.h"
#include "worker/service_queue.h"

namespace rotulus::worker {

namespace asio = boost::asio;
using asio::use_awaitable;
using asio::ip::tcp;
using boost::system::error_code;
using boost::system::system_error;
using protocol::Error;
using protocol::ErrorCode;
using protocol::Message;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kRetryInterval{100};

template <typename T, typename... Kinds>
constexpr bool is_one_of = (std::is_same_v<T, Kinds> || ...);

template <typename T>
constexpr bool is_text =
    is_one_of<T, protocol::TokenizeDocument, protocol::EncodeText, protocol::DecodeTokens, protocol::RenderTemplate>;
template <typename T>
constexpr bool is_volume = is_one_of<T, protocol::ReconcileVolume, protocol::ListManifests, protocol::EraseObjects,
                                     protocol::WriteSlice, protocol::CommitObject>;
template <typename T>
constexpr bool is_read = is_one_of<T, protocol::VerifyObject, protocol::ReadSlice>;
template <typename T>
constexpr bool is_work =
    is_one_of<T, protocol::OpenContext, protocol::ContextTokens, protocol::CloseContext, protocol::ComputeChunk,
              protocol::CancelCompute, protocol::CommitListing, protocol::StartAnswer, protocol::CancelAnswer>;

}  // namespace

struct ControlLink::State {
  State(ControlLinkConfig config_, protocol::Hello hello_, ControlLinkHandlers handlers_)
      : config(std::move(config_)), hello(std::move(hello_)), handlers(std::move(handlers_)) {}

  // -- opening (link thread) ------------------------------------------------------------------------------------------
  asio::awaitable<protocol::Welcome> open();
  asio::awaitable<void> reach(Clock::time_point end);
  asio::awaitable<protocol::Welcome> shake_hands();

  // -- reading (link thread) ------------------------------------------------------------------------------------------
  struct Received {
    Message message;
    std::size_t bytes = 0;
  };
  asio::awaitable<std::optional<Received>> receive();  // nullopt: of another epoch
  asio::awaitable<void> read_all();
  asio::awaitable<void> wait_for_room();
  void dispatch(Received received);
  void answer(const protocol::Ping& ping);
  void release(std::size_t bytes);  // from any thread: so much of what came in was taken

  // -- writing
  // ----------------------------------------------------------------------------------------------------------
  void enqueue(std::vector<std::byte> frame);  // from any thread, without waiting
  void write_next();                           // link thread

  void watch(std::chrono::milliseconds patience, std::string whom);  // closes the socket when it is over
  void lose(const std::string& reason);
  void shut();
  std::string address() const { return fmt::format("{}:{}", config.host, config.port); }

  const ControlLinkConfig config;
  const protocol::Hello hello;
  const ControlLinkHandlers handlers;

  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_guard = asio::make_work_guard(io);

  // Link thread only.
  tcp::socket socket{io};
  asio::steady_timer watchdog{io};
  std::string missed;  // whom the watchdog waited for, once it has closed the socket
  asio::steady_timer write_watchdog{io};
  asio::steady_timer pause{io};
  protocol::Epoch read_epoch;
  std::uint64_t last_ping = 0;

  mutable std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  bool is_connected = false;
  bool is_lost = false;
  bool is_draining = false;
  bool is_closing = false;
  protocol::Epoch epoch;
  std::deque<std::vector<std::byte>> outgoing;
  std::size_t outgoing_bytes = 0;
  bool is_writing = false;         // write_next() is posted or under way; it alone takes from outgoing, one at a time
  std::size_t incoming_bytes = 0;  // handed on, and not yet taken or handled
  std::deque<Received> work;
  std::uint64_t work_taken = 0;
  std::uint64_t last_wake = 0;

  std::unique_ptr<ServiceQueue> texts;
  std::unique_ptr<ServiceQueue> volumes;
  std::unique_ptr<ServiceQueue> reads;
  std::jthread thread;  // runs io; last, since it uses all the others
};

// ---------------------------------------------------------------------------------------------------------------
// Opening

void ControlLink::State::watch(std::chrono::milliseconds patience, std::string whom) {
  watchdog.expires_after(patience);
  watchdog.async_wait([this, whom = std::move(whom)](error_code error) {
    if (error) return;  // it was set anew
    missed = whom;
    error_code ignored;
    socket.close(ignored);
  });
}

asio::awaitable<void> ControlLink::State::reach(Clock::time_point end) {
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  watch(std::max(rest, kRetryInterval), "nobody answered in time");
  tcp::resolver resolver(io);
  const auto endpoints = co_await resolver.async_resolve(config.host, std::to_string(config.port), use_awaitable);
  if (!missed.empty()) throw system_error(asio::error::timed_out);
  co_await asio::async_connect(socket, endpoints, use_awaitable);
  socket.set_option(tcp::no_delay(true));
}

asio::awaitable<protocol::Welcome> ControlLink::State::shake_hands() {
  watch(config.hello_timeout, "no challenge came");
  const auto first = co_await receive();
  const auto* challenge = first ? std::get_if<protocol::Challenge>(&first->message) : nullptr;
  if (!challenge) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} did not begin with a challenge: no coordinator", address()));
  }
  protocol::Hello proven = hello;
  if (!config.secret.empty()) proven.proof = protocol::make_proof(config.secret, *challenge, hello);
  const std::vector<std::byte> frame = protocol::make_frame(proven, {});
  co_await asio::async_write(socket, asio::buffer(frame), use_awaitable);
  for (;;) {
    // The coordinator may wait for other ranks before it welcomes this one, and pings meanwhile.
    watch(config.lease_timeout, "the coordinator fell silent");
    const auto received = co_await receive();
    if (!received) continue;
    if (const auto* welcome = std::get_if<protocol::Welcome>(&received->message)) co_return *welcome;
    if (const auto* refusal = std::get_if<protocol::Refusal>(&received->message)) {
      throw Error(refusal->code, fmt::format("{} refused this worker: {}", address(), refusal->message));
    }
    const auto* ping = std::get_if<protocol::Ping>(&received->message);
    if (!ping) throw Error(ErrorCode::invalid_argument, fmt::format("{} broke the order of the opening", address()));
    protocol::Pong pong = handlers.make_pong();
    pong.sequence = ping->sequence;
    const std::vector<std::byte> reply = protocol::make_frame(pong, {});
    co_await asio::async_write(socket, asio::buffer(reply), use_awaitable);
  }
}

asio::awaitable<protocol::Welcome> ControlLink::State::open() {
  const Clock::time_point end = Clock::now() + config.connect_timeout;
  for (;;) {
    std::string why;
    missed.clear();
    try {
      co_await reach(end);
      const protocol::Welcome welcome = co_await shake_hands();
      co_return welcome;
    } catch (const system_error& error) {
      why = missed.empty() ? error.code().message() : missed;
    }
    error_code ignored;
    socket.close(ignored);
    if (Clock::now() + kRetryInterval > end) {
      throw Error(ErrorCode::unavailable,
                  fmt::format("no coordinator at {} within {} ms: {}", address(), config.connect_timeout.count(), why));
    }
    pause.expires_after(kRetryInterval);
    co_await pause.async_wait(use_awaitable);
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Reading

asio::awaitable<std::optional<ControlLink::State::Received>> ControlLink::State::receive() {
  std::array<std::byte, protocol::kFrameHeaderBytes> header;
  co_await asio::async_read(socket, asio::buffer(header), use_awaitable);
  const protocol::FrameHeader parsed = protocol::parse_frame_header(header);
  std::vector<std::byte> payload(parsed.payload_bytes);
  co_await asio::async_read(socket, asio::buffer(payload), use_awaitable);
  if (parsed.epoch != read_epoch) co_return std::nullopt;
  co_return Received{protocol::parse_frame(header, payload), header.size() + payload.size()};
}

asio::awaitable<void> ControlLink::State::read_all() {
  std::string reason;
  try {
    for (;;) {
      watch(config.lease_timeout, fmt::format("was silent for {} ms", config.lease_timeout.count()));
      auto received = co_await receive();
      if (received) dispatch(std::move(*received));
      co_await wait_for_room();
    }
  } catch (const system_error& error) {
    reason = !missed.empty()                    ? missed
             : error.code() == asio::error::eof ? "closed the connection"
                                                : error.code().message();
  } catch (const Error& error) {
    reason = error.message();
  }
  lose(reason);
}

// What came in is bounded: nothing more is read until it is taken. A Pong a heartbeat tells the coordinator, whose
// pings are not read, that this rank lives.
asio::awaitable<void> ControlLink::State::wait_for_room() {
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (incoming_bytes <= protocol::kMaxQueuedFrameBytes || is_lost || is_closing) co_return;
      pause.expires_after(protocol::kHeartbeatInterval);
    }
    watchdog.cancel();
    error_code woken;
    co_await pause.async_wait(asio::redirect_error(use_awaitable, woken));
    if (!woken) answer({last_ping});
  }
}

void ControlLink::State::dispatch(Received received) {
  const auto expect = [&](bool is_for_this_rank) {
    if (is_for_this_rank) return;
    throw Error(ErrorCode::invalid_argument, fmt::format("sent a message of kind {}, which is not for rank {}",
                                                         received.message.index(), hello.rank));
  };
  const auto take = [&](const auto& message) {
    using T = std::decay_t<decltype(message)>;
    if constexpr (std::is_same_v<T, protocol::Ping>) return answer(message);
    const std::lock_guard lock(mutex);
    if constexpr (is_text<T> || is_volume<T> || is_read<T>) {
      incoming_bytes += received.bytes;
      (is_text<T> ? texts : is_volume<T> ? volumes : reads)->put(std::move(received.message), received.bytes);
    } else if constexpr (is_work<T>) {
      expect(hello.rank == 0);
      incoming_bytes += received.bytes;
      work.push_back(std::move(received));
    } else if constexpr (std::is_same_v<T, protocol::Wake>) {
      expect(hello.rank != 0);
      last_wake = message.work;
    } else {
      expect(std::is_same_v<T, protocol::Drain>);
      is_draining = true;
    }
    changed.notify_all();
  };
  std::visit(take, received.message);
}

void ControlLink::State::answer(const protocol::Ping& ping) {
  last_ping = ping.sequence;
  protocol::Pong pong = handlers.make_pong();
  pong.sequence = ping.sequence;
  enqueue(protocol::make_frame(pong, read_epoch));
}

void ControlLink::State::release(std::size_t bytes) {
  const std::lock_guard lock(mutex);
  const bool was_full = incoming_bytes > protocol::kMaxQueuedFrameBytes;
  incoming_bytes -= bytes;
  if (was_full && incoming_bytes <= protocol::kMaxQueuedFrameBytes) asio::post(io, [this] { pause.cancel(); });
}

// ---------------------------------------------------------------------------------------------------------------
// Writing

void ControlLink::State::enqueue(std::vector<std::byte> frame) {
  const std::lock_guard lock(mutex);
  if (is_lost) return;
  outgoing_bytes += frame.size();
  outgoing.push_back(std::move(frame));
  if (!std::exchange(is_writing, true)) asio::post(io, [this] { write_next(); });
}

// A peer that takes no byte of a frame for a lease is lost, also while the link does not read: else send() might wait
// for ever.
void ControlLink::State::write_next() {
  std::unique_lock lock(mutex);
  is_writing = !is_lost && !outgoing.empty();
  if (!is_writing) return;
  const std::vector<std::byte>& frame = outgoing.front();  // stays where it is while others are added behind it
  lock.unlock();
  write_watchdog.expires_after(config.lease_timeout);
  write_watchdog.async_wait([this](error_code error) {
    if (!error) lose(fmt::format("took no message for {} ms", config.lease_timeout.count()));
  });
  asio::async_write(socket, asio::buffer(frame), [this](error_code error, std::size_t) {
    write_watchdog.cancel();
    if (error) return lose(error.message());
    {
      const std::lock_guard written(mutex);
      outgoing_bytes -= outgoing.front().size();
      outgoing.pop_front();
      changed.notify_all();
    }
    write_next();
  });
}

void ControlLink::State::lose(const std::string& reason) {
  {
    const std::lock_guard lock(mutex);
    if (is_lost) return;
    is_lost = true;
    changed.notify_all();
    if (is_closing) return shut();
  }
  shut();
  handlers.on_lost(fmt::format("coordinator {}: {}", address(), reason));
}

void ControlLink::State::shut() {
  watchdog.cancel();
  write_watchdog.cancel();
  pause.cancel();
  error_code ignored;
  socket.close(ignored);
}

// ---------------------------------------------------------------------------------------------------------------
// The face

ControlLink::ControlLink(ControlLinkConfig config, protocol::Hello hello, ControlLinkHandlers handlers)
    : state_(std::make_unique<State>(std::move(config), std::move(hello), std::move(handlers))) {}

ControlLink::~ControlLink() {
  State& state = *state_;
  // The handlers first: what they still say is sent.
  if (state.texts) state.texts->stop();
  if (state.volumes) state.volumes->stop();
  if (state.reads) state.reads->stop();
  {
    std::unique_lock lock(state.mutex);
    state.is_closing = true;
    state.changed.wait_for(lock, state.config.lease_timeout, [&] { return state.outgoing.empty() || state.is_lost; });
  }
  asio::post(state.io, [&state] { state.shut(); });
  state.work_guard.reset();
  if (state.thread.joinable()) state.thread.join();
}

protocol::Welcome ControlLink::connect() {
  State& state = *state_;
  CHECK(!state.thread.joinable());
  const auto on_handled = [&state](std::size_t bytes) { state.release(bytes); };
  const auto on_error = [&state](const std::string& why) {
    asio::post(state.io, [&state, why] { state.lose("a handler failed: " + why); });
  };
  state.texts = std::make_unique<ServiceQueue>(state.handlers.on_text, on_handled, on_error);
  state.volumes = std::make_unique<ServiceQueue>(state.handlers.on_volume, on_handled, on_error);
  state.reads = std::make_unique<ServiceQueue>(state.handlers.on_read, on_handled, on_error);
  state.thread = std::jthread([&state] { state.io.run(); });

  const protocol::Welcome welcome = asio::co_spawn(state.io, state.open(), asio::use_future).get();
  {
    const std::lock_guard lock(state.mutex);
    state.is_connected = true;
    state.epoch = welcome.epoch;
  }
  asio::post(state.io, [&state, epoch = welcome.epoch] {
    state.read_epoch = epoch;
    asio::co_spawn(state.io, state.read_all(), asio::detached);
  });
  return welcome;
}

void ControlLink::send(const Message& message) {
  State& state = *state_;
  protocol::Epoch epoch;
  {
    std::unique_lock lock(state.mutex);
    CHECK(state.is_connected);
    state.changed.wait(lock, [&] { return state.outgoing_bytes < protocol::kMaxQueuedFrameBytes || state.is_lost; });
    epoch = state.epoch;
  }
  state.enqueue(protocol::make_frame(message, epoch));
}

bool ControlLink::draining() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_draining;
}

bool ControlLink::is_lost() const {
  const std::lock_guard lock(state_->mutex);
  return state_->is_lost;
}

std::vector<Message> ControlLink::take_work() {
  std::vector<Message> taken;
  std::size_t bytes = 0;
  {
    const std::lock_guard lock(state_->mutex);
    for (State::Received& received : state_->work) {
      bytes += received.bytes;
      taken.push_back(std::move(received.message));
    }
    state_->work.clear();
    state_->work_taken += taken.size();
  }
  state_->release(bytes);
  return taken;
}

std::uint64_t ControlLink::work_seen() {
  const std::lock_guard lock(state_->mutex);
  return state_->hello.rank == 0 ? state_->work_taken : state_->last_wake;
}

void ControlLink::park(std::uint64_t seen) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.changed.wait(lock, [&] {
    const bool has_work = state.hello.rank == 0 ? !state.work.empty() : state.last_wake > seen;
    return has_work || state.is_draining || state.is_lost;
  });
}

}  // namespace rotulus::worker
