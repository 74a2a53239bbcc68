// A client that can misbehave: plain blocking sockets, so that a test says exactly which bytes go out and when.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace rotulus::coordinator::fakes {

struct Answer {
  int status = 0;                              // 0: the connection ended without one
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
};

class HttpClient final {
 public:
  explicit HttpClient(std::uint16_t port, int receive_buffer_bytes = 0);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  bool send(std::string_view bytes);  // false: the server closed the connection
  void half_close();
  Answer read_answer(bool has_body = true);
  std::string read_some();     // "" at the end of the connection
  bool is_closed_by_server();  // waits for it, ten seconds at most

  Answer request(std::string_view method, std::string_view target, std::string_view body = "",
                 std::string_view headers = "Content-Type: application/json\r\n");

 private:
  bool fill();

  int socket_ = -1;
  std::string received_;
};

// One request on a connection of its own.
Answer ask(std::uint16_t port, std::string_view method, std::string_view target, std::string_view body = "",
           std::string_view headers = "Content-Type: application/json\r\n");

}  // namespace rotulus::coordinator::fakes
