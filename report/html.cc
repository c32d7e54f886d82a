#include "report/html.h"

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

namespace basalt::report {
namespace {

// web/build.mjs makes sure that it occurs exactly once.
constexpr std::string_view kPlaceholder = "@BASALT_REPORT_DATA@";

// zlib writes no time stamp unless asked to, so equal input gives equal bytes.
std::string Gzip(std::string_view input) {
  z_stream stream = {};
  constexpr int kGzipWindow = 15 + 16;  // largest window, gzip header
  constexpr int kMemoryLevel = 8;
  // Both calls fail only for lack of memory or for wrong arguments: nothing that a caller could
  // handle.
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    std::abort();
  }
  std::string output;
  std::size_t read = 0;
  int status = Z_OK;
  constexpr std::size_t kChunk = std::size_t{1} << 18;
  do {
    if (stream.avail_in == 0 && read < input.size()) {
      const std::size_t size =
          std::min<std::size_t>(input.size() - read, std::numeric_limits<uInt>::max());
      // zlib's interface is older than const, but it only reads here.
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data() + read));
      stream.avail_in = static_cast<uInt>(size);
      read += size;
    }
    const std::size_t written = output.size();
    output.resize(written + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(output.data() + written);
    stream.avail_out = static_cast<uInt>(kChunk);
    status = deflate(&stream, read == input.size() ? Z_FINISH : Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) std::abort();
    output.resize(written + kChunk - stream.avail_out);
  } while (status != Z_STREAM_END);
  deflateEnd(&stream);
  return output;
}

// Appends `bytes` in base64 (RFC 4648, with padding).
void AppendBase64(std::string_view bytes, std::string& out) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto byte = [bytes](std::size_t i) -> std::uint32_t {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U;
  };
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    out += kAlphabet[group >> 18];
    out += kAlphabet[group >> 12 & 63];
    out += i + 1 < bytes.size() ? kAlphabet[group >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kAlphabet[group & 63] : '=';
  }
}

}  // namespace

std::string RenderHtml(std::string_view report_json) {
  const std::string_view page = ReportPageTemplate();
  const std::size_t at = page.find(kPlaceholder);
  if (at == std::string_view::npos) std::abort();  // the embedded template is not ours
  const std::string packed = Gzip(report_json);
  std::string html;
  html.reserve(page.size() + packed.size() / 3 * 4 + 8);
  html.append(page.substr(0, at));
  AppendBase64(packed, html);
  html.append(page.substr(at + kPlaceholder.size()));
  return html;
}

}  // namespace basalt::report
