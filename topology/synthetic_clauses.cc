// Reading the clauses of descriptions (synthetic.h), each on its own.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <tuple>

#include "scheduler-core/base/suggest.h"
#include "topology/synthetic.h"
#include "topology/synthetic_notation.h"

namespace basalt::topology {
namespace {

constexpr std::size_t kMaxLinks = 100'000;

struct ModelHead {
  std::string_view name, vendor, fabric;
  int sm = 0;
  bool p2p = true;
};
constexpr ModelHead kModels[] = {
    {"V100", "NVIDIA", "NVLink", 70},
    {"T4", "NVIDIA", "", 75},
    {"A100", "NVIDIA", "NVLink", 80},
    {"A800", "NVIDIA", "NVLink", 80},
    {"A10", "NVIDIA", "", 86},
    {"A40", "NVIDIA", "NVLink", 86},
    {"RTX4090", "NVIDIA", "", 89, false},
    {"L20", "NVIDIA", "", 89},
    {"L40S", "NVIDIA", "", 89},
    {"H100", "NVIDIA", "NVLink", 90},
    {"H200", "NVIDIA", "NVLink", 90},
    {"H800", "NVIDIA", "NVLink", 90},
    {"H20", "NVIDIA", "NVLink", 90},
    {"B200", "NVIDIA", "NVLink", 100},
    {"GB200", "NVIDIA", "NVLink", 100},
    {"910B", "Huawei", "HCCS", 0},
    {"C500", "MetaX", "MetaXLink", 0},
    {"P800", "Kunlunxin", "XPULink", 0},
    {"MI300X", "AMD", "XGMI", 0},
};

}  // namespace

// A cursor over one clause's value. Every method says where it stopped when it returns a fault.
class PartsReader {
 public:
  using Fault = GraphParts::Fault;
  using Outcome = GraphParts::Outcome;
  PartsReader(GraphParts* parts, std::string_view text) : parts_(parts), text_(text) {}

  Outcome Head();
  Outcome Name(std::string* out);
  Outcome Small(int high, int* out);
  Outcome YesNo(bool* out);
  Outcome P2pAll();
  Outcome P2pPairs(P2p value);
  Outcome Runs(std::int64_t low, std::int64_t high, std::optional<std::vector<std::int64_t>>* out);
  Outcome With();
  Outcome Links(LinkKind kind);
  Outcome Measured();

 private:
  using Ref = GraphParts::Ref;
  bool Done() const { return at_ >= text_.size(); }
  bool Take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  Outcome Expected(const std::string& what) const {
    std::string found = Done() ? "the end" : "\"" + std::string(text_.substr(at_, 20)) + "\"";
    return Fault{at_, "expected " + what + ", found " + found};
  }
  Outcome Number(std::int64_t low, std::int64_t high, const std::string& what, std::int64_t* out);
  Outcome Refs(std::vector<Ref>* out);
  Outcome Capacity(LinkKind kind, int* count, std::int32_t* mbps);
  Outcome Pcie(std::int32_t* mbps);
  Outcome CardList(CardSet* out);
  // Calls `item` for each part between commas.
  template <class Item>
  Outcome List(const Item& item) {
    for (;;) {
      if (Outcome fault = item()) return fault;
      if (Done()) return {};
      if (!Take(",")) return Expected("\",\" or the end of the clause");
    }
  }

  GraphParts* parts_;
  std::string_view text_;
  std::size_t at_ = 0;
};

PartsReader::Outcome PartsReader::Number(std::int64_t low, std::int64_t high,
                                         const std::string& what, std::int64_t* out) {
  const char* const begin = text_.data() + at_;
  const bool digit = !Done() && *begin >= '0' && *begin <= '9';
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), *out);
  // A leading zero would make two texts of one number.
  const bool zeros = digit && *begin == '0' && end - begin > 1;
  if (!digit || zeros || error != std::errc() || *out < low || *out > high) {
    return Expected(what + " (" + std::to_string(low) + ".." + std::to_string(high) + ")");
  }
  at_ += static_cast<std::size_t>(end - begin);
  return {};
}

PartsReader::Outcome PartsReader::Head() {
  std::int64_t cards = 0;
  if (Outcome fault = Number(1, kMaxCardsPerNode, "the number of cards", &cards)) return fault;
  parts_->cards_ = static_cast<int>(cards);
  if (Done()) return {};
  if (!Take("x")) return Expected("\"x\" and a model, or a space");
  const std::string_view name = text_.substr(at_);
  for (const ModelHead& model : kModels) {
    if (model.name != name) continue;
    parts_->vendor_ = model.vendor;
    parts_->fabric_ = model.fabric;
    parts_->sm_ = model.sm;
    parts_->p2p_by_default_ = model.p2p;
    return {};
  }
  return Fault{at_, "unknown model " + SuggestText(name, GraphParts::Models())};
}

PartsReader::Outcome PartsReader::Name(std::string* out) {
  out->clear();
  for (; !Done(); ++at_) {
    const char c = text_[at_];
    if (notation::IsPlain(c)) {
      *out += c;
      continue;
    }
    unsigned value = 0;
    const std::string_view hex = text_.substr(at_ + 1, 2);
    const auto parsed = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    if (c != '%' || hex.size() != 2 || parsed.ptr != hex.data() + 2 || value == 0) {
      return Expected("a letter, a digit, \"_\", \".\", \"-\" or a byte as %XX");
    }
    *out += static_cast<char>(value);
    at_ += 2;
  }
  return out->empty() ? Expected("a name") : Outcome();
}

PartsReader::Outcome PartsReader::Small(int high, int* out) {
  std::int64_t value = 0;
  if (Outcome fault = Number(1, high, "a number", &value)) return fault;
  *out = static_cast<int>(value);
  return Done() ? Outcome() : Expected("the end of the clause");
}

PartsReader::Outcome PartsReader::YesNo(bool* out) {
  if (text_ != "yes" && text_ != "no") return Expected("\"yes\" or \"no\"");
  *out = text_ == "yes";
  return {};
}

PartsReader::Outcome PartsReader::P2pAll() {
  if (text_ != "all" && text_ != "none") return Expected("\"all\" or \"none\"");
  parts_->p2p_all_ = text_ == "all" ? P2p::kYes : P2p::kNo;
  return {};
}

PartsReader::Outcome PartsReader::P2pPairs(P2p value) {
  return List([&]() -> Outcome {
    std::vector<Ref> left;
    std::vector<Ref> right;
    const std::size_t start = at_;
    if (Outcome fault = Refs(&left)) return fault;
    if (!Take("-")) return Expected("\"-\"");
    if (Outcome fault = Refs(&right)) return fault;
    if (left[0].kind != VertexKind::kCard || right[0].kind != VertexKind::kCard) {
      return Fault{start, "expected two sets of cards: peer-to-peer is between cards"};
    }
    for (const Ref& a : left) {
      for (const Ref& b : right) {
        if (a.number == b.number) continue;
        parts_->p2p_.push_back({std::minmax(a.number, b.number), value});
      }
    }
    return {};
  });
}

PartsReader::Outcome PartsReader::Runs(std::int64_t low, std::int64_t high,
                                       std::optional<std::vector<std::int64_t>>* out) {
  out->emplace();
  return List([&]() -> Outcome {
    std::int64_t value = -1;
    std::int64_t times = 1;
    if (!Take("?")) {
      if (Outcome fault = Number(low, high, "a number or \"?\"", &value)) return fault;
    }
    if (Take("*")) {
      if (Outcome fault = Number(1, notation::kMaxOfKind, "how often", &times)) return fault;
    }
    if ((*out)->size() + static_cast<std::size_t>(times) > notation::kMaxOfKind) {
      return Expected("at most " + std::to_string(notation::kMaxOfKind) + " values");
    }
    (*out)->insert((*out)->end(), static_cast<std::size_t>(times), value);
    return {};
  });
}

PartsReader::Outcome PartsReader::With() {
  return List([&]() -> Outcome {
    for (const auto& [letter, kind] : notation::kLetters) {
      // NICs are counted by their speeds (nics=).
      if (kind == VertexKind::kNic || !Take(std::string_view(&letter, 1))) continue;
      std::int64_t count = 0;
      if (Outcome fault = Number(1, notation::kMaxOfKind, "how many", &count)) return fault;
      parts_->with_.emplace_back(kind, static_cast<int>(count));
      return {};
    }
    return Expected("f (fabric switches), s (PCIe switches), h (host bridges) or n (NUMA nodes)");
  });
}

// [letter] number[..number] {+ number[..number]}
PartsReader::Outcome PartsReader::Refs(std::vector<Ref>* out) {
  VertexKind kind = VertexKind::kCard;
  for (const auto& [letter, of] : notation::kLetters) {
    if (Take(std::string_view(&letter, 1))) {
      kind = of;
      break;
    }
  }
  const std::int64_t last =
      kind == VertexKind::kCard ? parts_->cards_ - 1 : notation::kMaxOfKind - 1;
  const std::string what = kind == VertexKind::kCard ? "a card, or f, s, h, n, i and a number"
                                                     : "a number after the letter";
  do {
    std::int64_t first = 0;
    if (Outcome fault = Number(0, last, what, &first)) return fault;
    std::int64_t end = first;
    if (Take("..")) {
      if (Outcome fault = Number(first, last, "the end of the range", &end)) return fault;
    }
    for (; first <= end; ++first) out->push_back({kind, static_cast<int>(first)});
    if (out->size() > kMaxLinks) return Expected("fewer ends");
  } while (Take("+"));
  return {};
}

PartsReader::Outcome PartsReader::Pcie(std::int32_t* mbps) {
  constexpr double kSpeeds[] = {2.5, 5, 8, 16, 32, 64};
  std::int64_t generation = 0;
  std::int64_t width = 16;
  if (Outcome fault = Number(1, 6, "the PCIe generation", &generation)) return fault;
  const std::size_t start = at_;
  if (Take("x")) {
    if (Outcome fault = Number(1, 32, "the width", &width)) return fault;
  }
  *mbps = PcieMbps(kSpeeds[generation - 1], static_cast<int>(width));
  if (*mbps <= 0) return Fault{start, "expected a PCIe width"};
  return {};
}

// MBPS | COUNT*MBPS | COUNT/TOTAL | nvCOUNT | genG[xW]
PartsReader::Outcome PartsReader::Capacity(LinkKind kind, int* count, std::int32_t* mbps) {
  std::int64_t first = 0;
  std::int64_t second = 0;
  if (kind == LinkKind::kFabric && Take("nv")) {
    if (parts_->sm_ == 0) return Fault{at_ - 2, "expected MB/s: \"nv\" needs the clause sm"};
    if (Outcome fault = Number(1, 1000, "the number of links", &first)) return fault;
    *count = static_cast<int>(first);
    *mbps = NvlinkMbps(parts_->sm_) * *count;
    return {};
  }
  if (kind != LinkKind::kFabric && Take("gen")) return Pcie(mbps);
  const std::size_t start = at_;
  if (Outcome fault = Number(1, notation::kMaxMbps, "MB/s", &first)) return fault;
  *mbps = static_cast<std::int32_t>(first);
  const bool each = Take("*");
  if (!each && !Take("/")) return {};
  if (Outcome fault = Number(1, notation::kMaxMbps, "MB/s", &second)) return fault;
  if (first > 1000 || (each && first * second > notation::kMaxMbps)) {
    return Fault{start, "expected at most 1000 links and " + std::to_string(notation::kMaxMbps) +
                            " MB/s together"};
  }
  *count = static_cast<int>(first);
  *mbps = static_cast<std::int32_t>(each ? first * second : second);
  return {};
}

PartsReader::Outcome PartsReader::Links(LinkKind kind) {
  return List([&]() -> Outcome {
    std::vector<Ref> left;
    std::vector<Ref> right;
    const std::size_t start = at_;
    GraphParts::Joined joined;
    joined.kind = kind;
    if (Outcome fault = Refs(&left)) return fault;
    if (!Take("-")) return Expected("\"-\"");
    if (Outcome fault = Refs(&right)) return fault;
    if (!Take(":")) return Expected("\":\" and the capacity in MB/s");
    if (Outcome fault = Capacity(kind, &joined.count, &joined.mbps)) return fault;
    if (left.size() * right.size() + parts_->links_.size() > kMaxLinks) {
      return Fault{start, "expected at most " + std::to_string(kMaxLinks) + " links"};
    }
    std::set<std::tuple<VertexKind, int, VertexKind, int>> seen;  // 0..3-0..3 has each link twice
    for (const Ref& a : left) {
      for (const Ref& b : right) {
        const bool swap = std::tie(b.kind, b.number) < std::tie(a.kind, a.number);
        joined.a = swap ? b : a;
        joined.b = swap ? a : b;
        if (joined.a.kind == joined.b.kind && joined.a.number == joined.b.number) continue;
        if (seen.insert({joined.a.kind, joined.a.number, joined.b.kind, joined.b.number}).second) {
          parts_->links_.push_back(joined);
        }
      }
    }
    return {};
  });
}

PartsReader::Outcome PartsReader::Measured() {
  return List([&]() -> Outcome {
    MeasuredBandwidth measured;
    const std::size_t start = at_;
    std::int64_t value = 0;
    if (Take("k")) {
      if (Outcome fault = Number(2, parts_->cards_, "a number of cards", &value)) return fault;
      measured.size = static_cast<int>(value);
    } else {
      std::vector<Ref> cards;
      if (Outcome fault = Refs(&cards)) return fault;
      if (cards[0].kind != VertexKind::kCard)
        return Fault{start, "expected cards, or k and a size"};
      for (const Ref& card : cards) measured.cards.Add(card.number);
      if (measured.cards.size() < 2) return Fault{start, "expected at least two cards"};
    }
    if (!Take(":")) return Expected("\":\" and MB/s");
    if (Outcome fault = Number(1, notation::kMaxMbps, "MB/s", &value)) return fault;
    measured.mbps = static_cast<std::int32_t>(value);
    for (const MeasuredBandwidth& other : parts_->measured_) {
      if (other.cards == measured.cards && other.size == measured.size) {
        return Fault{start, "these cards have a measured value already"};
      }
    }
    parts_->measured_.push_back(measured);
    return {};
  });
}

const std::vector<std::string>& GraphParts::Keys() {
  static const std::vector<std::string> keys = {
      "vendor",  "fabric", "sm",       "nvls", "p2p-unknown", "p2p",
      "p2p-yes", "p2p-no", "numa",     "link", "pcie",        "numa-ids",
      "socket",  "nics",   "nic-numa", "with", "measured"};
  return keys;
}

std::vector<std::string> GraphParts::Models() {
  std::vector<std::string> names;
  for (const ModelHead& model : kModels) names.emplace_back(model.name);
  return names;
}

GraphParts::Outcome GraphParts::Head(std::string_view value) {
  return PartsReader(this, value).Head();
}

GraphParts::Outcome GraphParts::Clause(std::string_view key, std::string_view value) {
  PartsReader reader(this, value);
  if (key == "vendor") return reader.Name(&vendor_);
  if (key == "fabric") return reader.Name(&fabric_);
  if (key == "sm") return reader.Small(999, &sm_);
  if (key == "nvls") return reader.YesNo(&nvls_);
  if (key == "p2p-unknown") return reader.YesNo(&p2p_by_default_);
  if (key == "p2p") return reader.P2pAll();
  if (key == "p2p-yes") return reader.P2pPairs(P2p::kYes);
  if (key == "p2p-no") return reader.P2pPairs(P2p::kNo);
  if (key == "link") return reader.Links(LinkKind::kFabric);
  if (key == "pcie") return reader.Links(LinkKind::kPcie);
  if (key == "socket") return reader.Links(LinkKind::kSocket);
  if (key == "with") return reader.With();
  if (key == "measured") return reader.Measured();
  if (key == "nics") return reader.Runs(0, notation::kMaxMbps, &nics_);
  if (key == "numa") return reader.Runs(0, 100'000, &numa_);
  if (key == "numa-ids") return reader.Runs(0, 100'000, &numa_ids_);
  if (key == "nic-numa") return reader.Runs(0, 100'000, &nic_numa_);
  return Fault{0, "unknown clause " + SuggestText(key, Keys())};
}

}  // namespace basalt::topology
