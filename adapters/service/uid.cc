#include "adapters/service/uid.h"

namespace basalt::service {

Result<PodUid> ParseUid(std::string_view text) {
  const bool dashed = text.size() == 36;
  const auto bad = [&] {
    return Fail("uid", "\"" + std::string(text.substr(0, 64)) +
                           "\" is no pod UID: a UUID or 32 hexadecimal digits");
  };
  if (!dashed && text.size() != 32) return bad();
  PodUid uid;
  int digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (dashed && (i == 8 || i == 13 || i == 18 || i == 23)) {
      if (c != '-') return bad();
      continue;
    }
    std::uint64_t value = 0;
    if (c >= '0' && c <= '9') {
      value = static_cast<std::uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = static_cast<std::uint64_t>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      value = static_cast<std::uint64_t>(c - 'A') + 10;
    } else {
      return bad();
    }
    std::uint64_t& half = digits < 16 ? uid.hi : uid.lo;
    half = half << 4 | value;
    ++digits;
  }
  if (uid == PodUid{}) return bad();
  return uid;
}

std::string UuidText(const PodUid& uid) {
  std::string text = UidText(uid);
  for (const std::size_t at : {20U, 16U, 12U, 8U}) text.insert(at, 1, '-');
  return text;
}

std::uint64_t JobOf(std::string_view name) {
  if (name.empty()) return 0;
  const std::uint64_t job = DigestOf(name).lo;
  return job == 0 ? 1 : job;
}

}  // namespace basalt::service
