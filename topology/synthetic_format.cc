// Writing of descriptions (synthetic.h): one canonical text for a graph.
#include <algorithm>
#include <map>
#include <tuple>

#include "topology/synthetic.h"
#include "topology/synthetic_notation.h"

namespace basalt::topology {
namespace notation {

std::string VertexName(VertexKind kind, int number) {
  static const std::map<VertexKind, std::string> kNames = {
      {VertexKind::kCard, "GPU"},        {VertexKind::kFabricSwitch, "switch"},
      {VertexKind::kPcieSwitch, "pcie"}, {VertexKind::kHostBridge, "bridge"},
      {VertexKind::kNuma, "numa"},       {VertexKind::kNic, "NIC"}};
  return kNames.at(kind) + std::to_string(number);
}

std::vector<int> NumaByTree(const MachineGraph& graph) {
  std::vector<std::vector<int>> next(graph.vertices.size());
  for (const Link& link : graph.links) {
    if (link.kind != LinkKind::kPcie) continue;
    next[static_cast<std::size_t>(link.a)].push_back(link.b);
    next[static_cast<std::size_t>(link.b)].push_back(link.a);
  }
  std::vector<int> numa(graph.vertices.size(), -1);
  std::vector<char> seen(graph.vertices.size(), 0);
  for (const int root : graph.Of(VertexKind::kNuma)) {
    std::vector<int> reached = {root};
    seen[static_cast<std::size_t>(root)] = 1;
    for (std::size_t i = 0; i < reached.size(); ++i) {
      const auto v = static_cast<std::size_t>(reached[i]);
      numa[v] = graph.vertices[static_cast<std::size_t>(root)].numa;
      for (const int to : next[v]) {
        if (std::exchange(seen[static_cast<std::size_t>(to)], char{1}) == 0) reached.push_back(to);
      }
    }
  }
  return numa;
}

}  // namespace notation

namespace {

std::size_t Index(int i) { return static_cast<std::size_t>(i); }

std::string Escaped(const std::string& name) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (notation::IsPlain(c)) {
      out += c;
    } else {
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

// Ascending numbers: "0..3+6".
std::string Numbers(const std::vector<int>& numbers) {
  std::string out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i;
    while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
    out += (out.empty() ? "" : "+") + std::to_string(numbers[i]);
    if (end > i) out += (end == i + 1 ? "+" : "..") + std::to_string(numbers[end]);
    i = end + 1;
  }
  return out;
}

// "0*4,1*4"; -1 is "?".
std::string Runs(const std::vector<std::int64_t>& values) {
  std::string out;
  for (std::size_t i = 0; i < values.size();) {
    std::size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    out += (out.empty() ? "" : ",") + (values[i] < 0 ? "?" : std::to_string(values[i]));
    if (end - i > 1) out += "*" + std::to_string(end - i);
    i = end;
  }
  return out;
}

using Ref = std::pair<VertexKind, int>;

std::string Letter(VertexKind kind) {
  for (const auto& [letter, of] : notation::kLetters) {
    if (of == kind) return {letter};
  }
  return {};
}

class Writer {
 public:
  explicit Writer(const MachineGraph& graph) : graph_(graph), refs_(graph.vertices.size()) {
    for (std::size_t v = 0; v < refs_.size(); ++v) {
      const VertexKind kind = graph.vertices[v].kind;
      refs_[v] = {kind, counts_[kind]++};
    }
  }

  std::string Text();

 private:
  void Add(const std::string& key, const std::string& value) {
    if (!value.empty()) text_ += " " + key + "=" + value;
  }
  std::string Links(LinkKind kind);
  std::string Pairs(P2p value) const;
  std::string Measured() const;
  std::string With() const;
  void AddNuma();
  static std::string Capacity(int count, std::int32_t mbps) {
    if (count == 1) return std::to_string(mbps);
    return mbps % count == 0 ? std::to_string(count) + "*" + std::to_string(mbps / count)
                             : std::to_string(count) + "/" + std::to_string(mbps);
  }

  const MachineGraph& graph_;
  std::vector<Ref> refs_;
  std::map<VertexKind, int> counts_;
  std::map<VertexKind, int> shown_;  // how many of a kind follow from links
  std::string text_;
};

// A set of lower ends, and all the upper ends of one kind that have just this set: as few items as
// that gives, in the order of the first link of each.
struct Item {
  VertexKind low_kind = VertexKind::kCard, high_kind = VertexKind::kCard;
  std::vector<int> low, high;
  std::string capacity;
  std::string Text() const {
    return Letter(low_kind) + Numbers(low) + "-" + Letter(high_kind) + Numbers(high) + ":" +
           capacity;
  }
};

std::string Writer::Links(LinkKind kind) {
  // (upper end, kind of the lower end, capacity) -> lower ends.
  std::map<std::tuple<Ref, VertexKind, std::string>, std::vector<int>> by_upper;
  std::size_t links = 0;
  for (const Link& link : graph_.links) {
    if (link.kind != kind) continue;
    const auto [low, high] = std::minmax(refs_[Index(link.a)], refs_[Index(link.b)]);
    by_upper[{high, low.first, Capacity(link.count, link.mbps)}].push_back(low.second);
    for (const Ref& end : {low, high}) {
      shown_[end.first] = std::max(shown_[end.first], end.second + 1);
    }
    ++links;
  }
  std::map<std::tuple<VertexKind, VertexKind, std::vector<int>, std::string>, std::size_t> known;
  std::vector<Item> items;
  for (auto& [key, low] : by_upper) {
    const auto& [high, low_kind, capacity] = key;
    std::ranges::sort(low);
    const auto [it, is_new] =
        known.emplace(std::tuple(high.first, low_kind, low, capacity), items.size());
    if (is_new) items.push_back({low_kind, high.first, low, {}, capacity});
    items[it->second].high.push_back(high.second);
  }
  if (items.empty()) return {};
  // A mesh in which all links are alike is one item.
  const Item& first = items.front();
  const std::size_t n = items.size() + 1;
  const bool mesh =
      n > 2 && links == n * (n - 1) / 2 && std::ranges::all_of(items, [&](const Item& item) {
        return item.low_kind == item.high_kind && item.low_kind == first.low_kind &&
               item.capacity == first.capacity;
      });
  if (mesh) {
    std::vector<int> all = items.back().low;
    all.push_back(items.back().high.front());
    if (items.back().high.size() == 1 && all.size() == n) {
      return Item{first.low_kind, first.low_kind, all, all, first.capacity}.Text();
    }
  }
  std::string out;
  for (const Item& item : items) out += (out.empty() ? "" : ",") + item.Text();
  return out;
}

std::string Writer::Pairs(P2p value) const {
  std::map<int, std::vector<int>> by_upper;
  for (int b = 0; b < graph_.cards(); ++b) {
    for (int a = 0; a < b; ++a) {
      if (graph_.PeerToPeer(a, b) == value) by_upper[b].push_back(a);
    }
  }
  std::map<std::vector<int>, std::vector<int>> merged;
  for (const auto& [b, low] : by_upper) merged[low].push_back(b);
  std::map<std::vector<int>, std::string> by_high;
  for (const auto& [low, high] : merged) by_high[high] = Numbers(low) + "-" + Numbers(high);
  std::string out;
  for (const auto& [high, item] : by_high) out += (out.empty() ? "" : ",") + item;
  return out;
}

std::string Writer::Measured() const {
  std::map<std::pair<std::uint64_t, int>, std::int32_t> values;  // the first of equal ones counts
  for (const MeasuredBandwidth& m : graph_.measured) {
    values.emplace(std::pair(m.cards.bits(), m.cards.empty() ? m.size : 0), m.mbps);
  }
  std::string out;
  for (const auto& [key, mbps] : values) {
    std::vector<int> cards;
    for (const int card : CardSet(key.first)) cards.push_back(card);
    out += (out.empty() ? "" : ",") +
           (cards.empty() ? "k" + std::to_string(key.second) : Numbers(cards)) + ":" +
           std::to_string(mbps);
  }
  return out;
}

std::string Writer::With() const {
  std::string out;
  for (const auto& [letter, kind] : notation::kLetters) {
    const auto count = counts_.find(kind);
    if (kind == VertexKind::kNic || count == counts_.end()) continue;  // nics= counts them
    const auto shown = shown_.find(kind);
    if (shown != shown_.end() && shown->second >= count->second) continue;
    out += (out.empty() ? "" : ",") + std::string(1, letter) + std::to_string(count->second);
  }
  return out;
}

void Writer::AddNuma() {
  const std::vector<int> by_tree = notation::NumaByTree(graph_);
  std::map<VertexKind, std::vector<std::int64_t>> values;
  std::map<VertexKind, bool> differs;
  for (std::size_t v = 0; v < refs_.size(); ++v) {
    const auto [kind, number] = refs_[v];
    const int numa = graph_.vertices[v].numa;
    values[kind].push_back(numa);
    differs[kind] = differs[kind] || numa != (kind == VertexKind::kNuma ? number : by_tree[v]);
  }
  if (differs[VertexKind::kCard]) Add("numa", Runs(values[VertexKind::kCard]));
  if (differs[VertexKind::kNuma]) Add("numa-ids", Runs(values[VertexKind::kNuma]));
  if (differs[VertexKind::kNic]) Add("nic-numa", Runs(values[VertexKind::kNic]));
}

std::string Writer::Text() {
  const int cards = graph_.cards();
  text_ = std::to_string(cards);
  Add("vendor", Escaped(graph_.vendor));
  Add("fabric", Escaped(graph_.fabric));
  if (graph_.sm > 0) Add("sm", std::to_string(graph_.sm));
  if (graph_.in_network_reduction) text_ += " nvls";
  if (!graph_.p2p_by_default) Add("p2p-unknown", "no");
  const std::string yes = Pairs(P2p::kYes);
  const std::string no = Pairs(P2p::kNo);
  if (yes.empty() && Pairs(P2p::kUnknown).empty() && cards > 1) {
    Add("p2p", "none");
  } else if (no.empty() && Pairs(P2p::kUnknown).empty() && cards > 1) {
    Add("p2p", "all");
  } else {
    Add("p2p-yes", yes);
    Add("p2p-no", no);
  }
  Add("link", Links(LinkKind::kFabric));
  Add("pcie", Links(LinkKind::kPcie));
  Add("socket", Links(LinkKind::kSocket));
  Add("with", With());
  std::vector<std::int64_t> nics;
  for (const int nic : graph_.Of(VertexKind::kNic))
    nics.push_back(graph_.vertices[Index(nic)].nic_mbps);
  Add("nics", Runs(nics));
  AddNuma();
  Add("measured", Measured());
  return text_;
}

}  // namespace

std::string FormatGraph(const MachineGraph& graph) { return Writer(graph).Text(); }

}  // namespace basalt::topology
