#include "client/commands/document.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "protocol/error.h"

namespace rotulus::client {
namespace {

using protocol::Error;
using protocol::ErrorCode;

constexpr std::size_t kPieceBytes = 256u << 10;

class DocumentReader final {
 public:
  explicit DocumentReader(const std::string& path) : path_(path), buffer_(kPieceBytes, '\0') {
    if (path == "-") return;
    file_.open(path, std::ios::binary);
    std::error_code unknown;
    if (!file_ || std::filesystem::is_directory(path, unknown))
      throw Error(ErrorCode::not_found, fmt::format("cannot read {}: {}", path, std::strerror(errno ? errno : EISDIR)));
    if (std::filesystem::is_regular_file(path, unknown)) bytes_ = std::filesystem::file_size(path);
  }

  std::optional<std::uint64_t> bytes() const { return bytes_; }

  std::string_view next() {
    std::istream& in = path_ == "-" ? std::cin : file_;
    in.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    if (in.bad()) throw Error(ErrorCode::unavailable, fmt::format("reading {} failed", path_));
    return {buffer_.data(), static_cast<std::size_t>(in.gcount())};
  }

 private:
  std::string path_;
  std::string buffer_;
  std::ifstream file_;
  std::optional<std::uint64_t> bytes_;
};

}  // namespace

std::string document_fields(const DocumentOptions& options) {
  std::string fields = "frame=" + percent_encode(options.frame);
  if (options.system) fields += "&system=" + percent_encode(*options.system);
  if (options.attention != "auto") fields += "&attention=" + percent_encode(options.attention);
  if (!options.landmarks.empty()) fields += "&landmarks=" + percent_encode(options.landmarks);
  return fields;
}

std::string read_document(const std::string& file) {
  DocumentReader document(file);
  std::string text;
  for (std::string_view piece = document.next(); !piece.empty(); piece = document.next()) text += piece;
  return text;
}

std::string send_file(Session& session, const std::string& target, const std::string& file,
                      const std::string& content_type) {
  DocumentReader reader(file);
  return session.http.send({.method = "POST",
                            .target = target,
                            .content_type = content_type,
                            .streamed_body = BodySource{[&reader] { return reader.next(); }, reader.bytes()}});
}

std::string send_document(Session& session, const std::string& target, const DocumentOptions& options) {
  return send_file(session, target, options.file,
                   options.holds_token_ids ? "application/octet-stream" : "text/plain; charset=utf-8");
}

}  // namespace rotulus::client
