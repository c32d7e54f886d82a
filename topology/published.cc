#include "topology/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "topology/synthetic.h"

namespace basalt::topology {
namespace {

constexpr std::string_view kUuids = " uuids=";
constexpr std::size_t kMaxUuid = 128;

Status CheckUuids(const std::vector<std::string>& uuids, int cards) {
  if (uuids.empty()) return {};
  if (uuids.size() != static_cast<std::size_t>(cards)) {
    return Fail("uuids", fmt::format("are {}, but the machine has {} cards", uuids.size(), cards));
  }
  std::set<std::string_view> seen;
  for (const std::string& uuid : uuids) {
    const bool plain = std::ranges::all_of(uuid, [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
             std::string_view("._:-").find(c) != std::string_view::npos;
    });
    if (uuid.empty() || uuid.size() > kMaxUuid || !plain) {
      return Fail("uuids", "a UUID has 1 to 128 letters, digits and . _ : -");
    }
    if (!seen.insert(uuid).second) return Fail("uuids", uuid + " stands twice");
  }
  return {};
}

}  // namespace

Result<PublishedMachine> ParsePublished(std::string_view text) {
  if (text.size() > kMaxPublishedBytes) return Fail("machine", "is larger than 16 KiB");
  PublishedMachine out;
  const std::size_t at = text.find(kUuids);
  Result<MachineGraph> graph = ParseGraph(text.substr(0, at));
  if (!graph) return tl::unexpected<Error>(graph.error());
  out.graph = std::move(*graph);
  if (at == std::string_view::npos) return out;
  std::string_view rest = text.substr(at + kUuids.size());
  for (std::size_t comma = 0; comma != std::string_view::npos;) {
    comma = rest.find(',');
    out.uuids.emplace_back(rest.substr(0, comma));
    if (comma != std::string_view::npos) rest.remove_prefix(comma + 1);
  }
  if (Status ok = CheckUuids(out.uuids, out.graph.cards()); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  return out;
}

Result<std::string> FormatPublished(const PublishedMachine& machine) {
  if (Status ok = CheckUuids(machine.uuids, machine.graph.cards()); !ok) {
    return tl::unexpected<Error>(ok.error());
  }
  std::string text = FormatGraph(machine.graph);
  for (const std::string& uuid : machine.uuids) {
    text += &uuid == &machine.uuids.front() ? std::string(kUuids) : ",";
    text += uuid;
  }
  if (text.size() > kMaxPublishedBytes) {
    return Fail("machine", fmt::format("its line has {} bytes; a node may tell {}", text.size(),
                                       kMaxPublishedBytes));
  }
  return text;
}

}  // namespace basalt::topology
