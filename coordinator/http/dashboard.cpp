#include "coordinator/http/dashboard.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "coordinator/http/dashboard_assets.h"  // made by CMake from dashboard/

namespace rotulus::coordinator::http {
namespace {

std::string hash_source(std::string_view asset) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(asset.data()), asset.size(), digest);
  unsigned char base64[4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1];
  EVP_EncodeBlock(base64, digest, sizeof digest);
  return fmt::format("'sha256-{}'", reinterpret_cast<const char*>(base64));
}

std::string policy() {
  return fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; "
      "form-action 'none'; frame-ancestors 'none'",
      hash_source(kDashboardScript), hash_source(kDashboardStyle));
}

}  // namespace

HttpResponse dashboard_page(unsigned status) {
  HttpResponse page;
  page.status = status;
  page.content_type = "text/html; charset=utf-8";
  page.body = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Rotulus</title>"
      "<style>{}</style></head>\n{}<script>{}</script></html>\n",
      kDashboardStyle, kDashboardBody, kDashboardScript);
  page.headers = {{"Content-Security-Policy", policy()}, {"Referrer-Policy", "no-referrer"}};
  return page;
}

}  // namespace rotulus::coordinator::http
