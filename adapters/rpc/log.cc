#include "adapters/rpc/log.h"

#include <cstdio>
#include <ctime>

namespace basalt::rpc {
namespace {

constexpr std::size_t kMostBytes = 400;

void AppendText(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  const std::string_view cut = text.substr(0, kMostBytes);
  for (const char c : cut) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      *out += '\\';
      *out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      *out += "\\u00";
      *out += kHex[byte >> 4];
      *out += kHex[byte & 15];
    } else {
      *out += c;
    }
  }
  if (cut.size() < text.size()) *out += "...";
}

}  // namespace

void Log(std::string_view event,
         std::initializer_list<std::pair<std::string_view, std::string>> fields) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char time[64];
  const std::size_t length = strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);
  std::string line = "{\"time\":\"" + std::string(time, length) + "Z\",\"event\":\"";
  AppendText(event, &line);
  for (const auto& [name, value] : fields) {
    line += "\",\"";
    line += name;
    line += "\":\"";
    AppendText(value, &line);
  }
  line += "\"}\n";
  std::fwrite(line.data(), 1, line.size(), stderr);  // one write: lines of threads do not mix
}

}  // namespace basalt::rpc
