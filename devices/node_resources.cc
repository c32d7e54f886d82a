#include "devices/node_resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "devices/allocation.h"
#include "devices/node_numa.h"
#include "devices/passthrough.h"
#include "devices/plugins.h"
#include "devices/quantity.h"
#include "topology/pair_scores.h"
#include "topology/published.h"
#include "topology/synthetic.h"

namespace basalt::devices {
namespace {

using nlohmann::json;

constexpr std::string_view kScoreKey = "hami.io/node-nvidia-score";
constexpr std::string_view kCordonKey = "hami.io/device-cordon";
constexpr std::string_view kSoftKey = "hami-vnpu-core";
constexpr std::string_view kMigPods = "hami.io/vgpu-mig-allocations";
constexpr std::size_t kMaxScoreBytes = std::size_t{1} << 18;
constexpr std::int64_t kMebi = std::int64_t{1} << 20;

// More share a card nowhere, and the engine counts them in 16 bits.
constexpr std::int32_t kMostSharers = 1'000;

// Registered memory this close to the model's is not oversubscription but what the driver keeps.
constexpr std::int64_t kSamePercent = 5;

std::string TextAt(const std::map<std::string, std::string>& map, std::string_view key) {
  const auto at = map.find(std::string(key));
  return at == map.end() ? std::string() : at->second;
}

// The first of the node's lists that has the resource; 0: neither.
Result<Quantity> AmountOf(const NodeResources& node, const std::string& resource) {
  for (const Amounts* list : {&node.allocatable, &node.capacity}) {
    if (const auto at = list->find(resource); at != list->end()) {
      return ParseQuantity(at->second, "node " + node.name + ": " + resource);
    }
  }
  return Quantity{};
}

constexpr std::string_view kPassthroughMode = "passthrough";

// The interfaces by which the register's plugin is asked, with the word of its models.
std::vector<Interface> InterfacesOf(const Catalog& catalog, const Register& reg) {
  std::vector<Interface> out;
  const Vendor* vendor = FindVendor(catalog, reg.vendor);
  if (vendor == nullptr) return out;
  for (const Interface& interface : vendor->interfaces) {
    if (interface.platform != reg.platform) continue;
    out.push_back(HasWord(interface) ? ForWord(interface, reg.word) : interface);
  }
  return out;
}

// -1: the kubelet does not know the plugin's resources; 0: the plugin has withdrawn them.
std::int64_t Offered(const NodeResources& node, const std::vector<Interface>& interfaces) {
  std::int64_t most = -1;
  for (const Interface& interface : interfaces) {
    for (const std::string* name : {&interface.count, &interface.slots}) {
      const auto at = node.allocatable.find(*name);
      if (name->empty() || at == node.allocatable.end()) continue;
      const Result<Quantity> quantity = ParseQuantity(at->second, *name);
      most = std::max<std::int64_t>(most, quantity ? quantity->value : 0);
    }
  }
  return most;
}

class Reader {
 public:
  Reader(const Catalog& catalog, const NodeResources& node) : catalog_(catalog), node_(node) {}

  Result<NodeRead> Read() {
    out_.spec.name = node_.name;
    out_.cordoned = node_.unschedulable || !node_.ready;
    out_.spec.taints = node_.taints;
    for (const auto& [key, value] : node_.labels) out_.spec.labels.push_back({key, value});
    if (Status ok = ReadHost(); !ok) return tl::unexpected<Error>(ok.error());
    Result<std::vector<Register>> registers = ReadRegisters(node_.annotations, node_.name);
    if (!registers) return Inside(registers.error());
    DropLeftBehind(&*registers);
    Result<std::vector<Register>> counted =
        CountCards(node_.capacity, node_.labels, node_.name, *registers);
    if (!counted) return Inside(counted.error());
    ReadPublished();
    Result<SlicedCards> sliced = ReadResourceSlices(catalog_, node_.resource_slices);
    if (!sliced) return Inside(sliced.error());
    for (std::string& note : sliced->notes) Note(std::move(note));
    out_.facts.left_out = std::move(sliced->left_out);
    if (UseSlices(*sliced, *registers, *counted)) {
      for (const SlicedCard& card : sliced->cards) AddSliced(card);
      registers->clear();  // nothing of theirs is on the node
    } else {
      registers->insert(registers->end(), counted->begin(), counted->end());
      if (Status ok = CountPassthrough(&*registers); !ok) return tl::unexpected<Error>(ok.error());
      NameCards(&*registers);
      for (const Register& reg : *registers) AddCards(reg);
    }
    if (out_.spec.cards.size() > static_cast<std::size_t>(kMaxCardsPerNode)) {
      return Fail("node " + node_.name, fmt::format("{} cards; a node has at most {}",
                                                    out_.spec.cards.size(), kMaxCardsPerNode));
    }
    if (Status ok = CheckUuids(); !ok) return tl::unexpected<Error>(ok.error());
    ReadCordons();
    for (const CardSpec& card : out_.spec.cards) {
      out_.spec.numa_nodes = std::max(out_.spec.numa_nodes, card.numa + 1);
    }
    ReadMachine();
    if (out_.spec.machine.empty()) WireByRoots(sliced->cards);
    const Register* only = registers->size() == 1 ? &registers->front() : nullptr;
    if (ReadNumaReport(node_.numa, only, &out_.spec, &out_.notes)) out_.numa_source = "nrt";
    if (Status ok = ValidateNode(out_.spec, "node " + node_.name); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Inside(const Error& error) const {
    return Fail("node " + node_.name + ": " + error.where, error.message);
  }
  void Note(std::string note) { out_.notes.push_back(std::move(note)); }

  Status ReadHost() {
    const Result<Quantity> cpu = AmountOf(node_, "cpu");
    const Result<Quantity> memory = AmountOf(node_, "memory");
    const Result<Quantity> pods = AmountOf(node_, "pods");
    for (const auto* amount : {&cpu, &memory, &pods}) {
      if (!*amount) return tl::unexpected<Error>(amount->error());
    }
    out_.spec.cpu_milli = cpu->milli;
    out_.spec.memory_mib = memory->value / kMebi;
    out_.spec.max_pods = static_cast<std::int32_t>(std::min<std::int64_t>(pods->value, 1'000'000));
    return {};
  }

  // Of HAMi's and Volcano's NVIDIA registers the one whose plugin runs; HAMi's when neither tells.
  void DropLeftBehind(std::vector<Register>* registers) const {
    const auto nvidia = [&](std::string_view platform) {
      return std::ranges::find_if(*registers, [&](const Register& reg) {
        return reg.vendor == "nvidia" && reg.platform == platform;
      });
    };
    const auto hami = nvidia("hami"), volcano = nvidia("volcano");
    if (hami == registers->end() || volcano == registers->end()) return;
    const std::int64_t by_hami = Offered(node_, InterfacesOf(catalog_, *hami));
    const std::int64_t by_volcano = Offered(node_, InterfacesOf(catalog_, *volcano));
    registers->erase(by_volcano > 0 && by_hami <= 0 ? hami : volcano);
  }

  // The cards of the passthrough pool: the kubelet tells how many of a model, and nothing else.
  Status CountPassthrough(std::vector<Register>* registers) const {
    for (const auto& [resource, amount] : node_.capacity) {
      const CardModel* model = PassthroughModel(catalog_, resource);
      if (model == nullptr) continue;
      const Result<Quantity> count = AmountOf(node_, resource);
      const Result<Quantity> capacity =
          ParseQuantity(amount, "node " + node_.name + ": " + resource);
      if (!count) return tl::unexpected<Error>(count.error());
      if (!capacity) return tl::unexpected<Error>(capacity.error());
      if (capacity->value > kMaxCardsPerNode) {
        return Fail("node " + node_.name + ": " + resource,
                    fmt::format("counts {} cards; a node has at most {}", capacity->value,
                                kMaxCardsPerNode));
      }
      Register& made = registers->emplace_back();
      made.key = resource;
      made.platform = "plugin";
      made.vendor = model->vendor;
      const std::string name = resource.substr(resource.find('/') + 1);
      for (std::int64_t i = 0; i < capacity->value; ++i) {
        RegisteredCard& card = made.cards.emplace_back();
        card.uuid = fmt::format("{}/{}/{}", node_.name, name, i);
        card.type = model->name;
        card.index = static_cast<std::int32_t>(i);
        card.slots = 1;
        card.healthy = i < count->value;  // the kubelet offers fewer when some are ill
        card.mode = kPassthroughMode;
      }
    }
    return {};
  }

  // The catalog's model of a card; null: unknown.
  const CardModel* ModelFor(const Register& reg, const RegisteredCard& card) {
    const CardModel* model = ModelOfType(catalog_, card.type);
    if (model == nullptr && !reg.word.empty()) model = ModelOfType(catalog_, reg.word);
    const Vendor* vendor = FindVendor(catalog_, reg.vendor);
    if (model == nullptr && reg.counted) {
      for (const char* label : {"nvidia.com/gpu.product", "amd.com/gpu.product-name"}) {
        const std::string product = TextAt(node_.labels, label);
        if (model == nullptr && !product.empty()) model = ModelOfType(catalog_, product);
      }
      if (model != nullptr && model->vendor != reg.vendor) model = nullptr;
      // Where only its memory is known the first model that has as much stands for it.
      if (model == nullptr && vendor != nullptr && card.memory_mib > 0) {
        const auto at = std::ranges::find(vendor->models, card.memory_mib, &CardModel::memory_mib);
        if (at != vendor->models.end()) model = &*at;
      }
    }
    if (model == nullptr && vendor != nullptr && vendor->models.size() == 1) {
      model = &vendor->models.front();
    }
    if (model != nullptr && reg.vendor == "ascend" &&
        TextAt(node_.annotations, kSoftKey) == "true") {
      const CardModel* soft = FindModel(catalog_, model->name + "-soft");
      if (soft != nullptr) model = soft;
    }
    return model;
  }

  void AddCards(const Register& reg) {
    std::vector<RegisteredCard> cards = reg.cards;
    for (std::size_t i = 0; i < cards.size(); ++i) {
      if (cards[i].index < 0) cards[i].index = static_cast<std::int32_t>(i);
    }
    // The order of an annotation is random for HAMi's NVIDIA plugin.
    std::ranges::sort(cards, {}, [](const RegisteredCard& c) { return std::tie(c.index, c.uuid); });
    const bool distinct =
        std::ranges::adjacent_find(cards, {}, &RegisteredCard::index) == cards.end();
    const bool passthrough = !cards.empty() && cards.front().mode == kPassthroughMode;
    const bool withdrawn =
        !passthrough && (Offered(node_, InterfacesOf(catalog_, reg)) == 0 ||
                         (reg.counted && TextAt(node_.allocatable, reg.key) == "0"));
    const std::string taint = PluginTaint(catalog_, reg.vendor, reg.platform);
    std::vector<std::string>& plugins = out_.facts.plugins;
    const auto at = std::ranges::lower_bound(plugins, taint);
    if (!cards.empty() && !taint.empty() && (at == plugins.end() || *at != taint)) {
      plugins.insert(at, taint);
    }
    if (withdrawn && !cards.empty()) Note(reg.key + ": its plugin offers no cards now");
    if (reg.version != HamiVersion::kUnknown) out_.facts.version = reg.version;
    out_.facts.profile_ids.insert(reg.profile_ids.begin(), reg.profile_ids.end());
    std::set<std::string> told;  // notes, once a register
    const CardModel* model = nullptr;
    for (std::size_t i = 0; i < cards.size(); ++i) {
      const RegisteredCard& card = cards[i];
      // Cards of one node are mostly alike.
      if (i == 0 || card.type != cards[i - 1].type || card.memory_mib != cards[i - 1].memory_mib) {
        model = ModelFor(reg, card);
      }
      CardSpec spec;
      spec.uuid = card.uuid;
      spec.model = model != nullptr ? model->name : card.type.empty() ? reg.vendor : card.type;
      spec.numa = card.numa;
      spec.slots = std::min(card.slots, kMostSharers);
      spec.group = card.group;
      CardCondition condition{.healthy = card.healthy && !withdrawn};
      if (model == nullptr) told.insert("the catalog has no model \"" + spec.model + '"');
      if (model != nullptr && reg.counted) {
        told.insert("its cards are taken for " + model->name + " by their number and memory");
      }
      SetMemory(card, model, &spec, &told);
      if (reg.platform == "volcano" && model != nullptr &&
          2 * card.memory_mib < model->memory_mib) {
        told.insert("its memory is not in MiB: set gpuMemoryFactor to 1");
      }
      if (reg.vendor == "nvidia" && card.cores > 0) {
        constexpr std::int32_t kMost = 2 * kWholeCard;
        spec.compute_milli = std::min(card.cores, kMost / 10) * 10;
        if (card.cores > kMost / 10) told.insert("compute beyond 200 % is not handed out");
      }
      if (reg.platform == "plugin" || (reg.counted && card.slots == 1)) {
        spec.mode = passthrough      ? CardMode::kPassthrough
                    : card.slots > 1 ? CardMode::kShared
                                     : CardMode::kExclusive;
      }
      if (card.mode == "mig") SetMig(reg, card, model, &spec, &condition, &told);
      if (!reg.profile_ids.empty() && model != nullptr) {
        for (const SliceTemplate& slice : model->rules.templates) {
          if (reg.profile_ids.contains(slice.name)) continue;
          condition.cordoned = true;
          told.insert("it does not cut " + slice.name + " of " + model->name +
                      "; give its profiles in a catalog file");
        }
      }
      out_.facts.cards.push_back(NodeCard{.uuid = spec.uuid,
                                          .model = spec.model,
                                          .type = card.type,
                                          .index = distinct ? std::to_string(card.index) : "",
                                          .minor = card.minor});
      out_.facts.platforms.push_back(reg.platform);
      out_.spec.cards.push_back(std::move(spec));
      out_.conditions.push_back(condition);
    }
    for (const std::string& note : told) Note(reg.key + ": " + note);
  }

  // A device plugin and a DRA driver on one node know nothing of each other: of both one counts.
  bool UseSlices(const SlicedCards& sliced, const std::vector<Register>& registers,
                 const std::vector<Register>& counted) {
    if (sliced.cards.empty()) return false;
    for (const Register& reg : registers) {
      if (reg.cards.empty()) continue;
      Note("its ResourceSlices are not used: " + reg.key + " registers its cards");
      return false;
    }
    for (const Register& reg : counted) {
      if (reg.cards.empty()) continue;
      if (std::ranges::any_of(sliced.cards,
                              [&](const SlicedCard& c) { return c.vendor != reg.vendor; })) {
        Note("its ResourceSlices are not used: it has cards of another vendor, " + reg.key);
        return false;
      }
      Note(reg.key + " is not used: ResourceSlices tell the same cards; switch the plugin off");
    }
    return true;
  }

  void AddSliced(const SlicedCard& card) {
    const CardModel* model = FindModel(catalog_, ModelOfProduct(catalog_, card.product));
    const auto told = [&](const std::string& note) { Note("device " + card.uuid + ": " + note); };
    CardSpec spec;
    spec.uuid = card.uuid;
    spec.model = model != nullptr ? model->name : card.product.empty() ? card.vendor : card.product;
    if (model == nullptr) told("the catalog has no model \"" + spec.model + '"');
    spec.memory_mib = card.memory_mib > 0 ? card.memory_mib
                      : model != nullptr  ? model->memory_mib
                                          : 0;
    spec.numa = card.numa;
    // A device is allocated to one claim.
    spec.mode = card.devices.instances.empty() ? CardMode::kExclusive : CardMode::kMig;
    if (card.tainted) told("has a taint, and takes no new pods");
    const std::string& driver = card.devices.whole.driver;
    const LabelRequirement label{DriverLabel(driver), "true"};
    if (std::ranges::find(out_.spec.labels, label) == out_.spec.labels.end()) {
      out_.spec.labels.push_back(label);
    }
    if (std::ranges::find(out_.spec.taints, kClaimsOnlyTaint) == out_.spec.taints.end()) {
      out_.spec.taints.emplace_back(kClaimsOnlyTaint);
    }
    out_.facts.cards.push_back(
        NodeCard{.uuid = spec.uuid, .model = spec.model, .type = card.product});
    out_.facts.platforms.emplace_back("dra");
    out_.facts.devices.push_back(card.devices);
    out_.spec.cards.push_back(std::move(spec));
    out_.conditions.push_back({.cordoned = card.tainted});
  }

  // DRA tells PCIe roots and NUMA nodes and no links between cards: what is made of them promises
  // no more than there is.
  void WireByRoots(const std::vector<SlicedCard>& cards) {
    if (out_.facts.devices.empty() || cards.size() < 2) return;
    for (const SlicedCard& card : cards) {
      if (card.pcie_root.empty()) return;
    }
    const auto size = static_cast<Eigen::Index>(cards.size());
    Eigen::MatrixXi scores = Eigen::MatrixXi::Zero(size, size);
    constexpr int kSameRoot = 30, kSameNuma = 20, kOther = 10;  // as HAMi's plugin scores pairs
    std::vector<int> numa;
    for (Eigen::Index i = 0; i < size; ++i) {
      const SlicedCard& a = cards[static_cast<std::size_t>(i)];
      numa.push_back(a.numa);
      for (Eigen::Index j = 0; j < size; ++j) {
        const SlicedCard& b = cards[static_cast<std::size_t>(j)];
        if (i == j) continue;
        const bool near = a.numa >= 0 && a.numa == b.numa;
        scores(i, j) = a.pcie_root == b.pcie_root ? kSameRoot : near ? kSameNuma : kOther;
      }
    }
    const auto graph =
        topology::GraphOfPairScores(scores, out_.spec.cards.front().model, numa, "dra");
    if (!graph) return Note("pcieRoot: " + graph.error().message);
    SetMachine(*graph, "dra");
    Note("machine: links between cards are not told by DRA; give them with " +
         std::string(kMachineKey));
  }

  // What is registered is what may be handed out. Of it the model's part is real, the rest is
  // oversubscribed; never is more handed out than was registered.
  static void SetMemory(const RegisteredCard& card, const CardModel* model, CardSpec* spec,
                        std::set<std::string>* told) {
    if (model == nullptr) {
      spec->memory_mib = card.memory_mib;
      return;
    }
    const MiB real = model->memory_mib;
    spec->memory_mib = card.memory_mib > 0 ? card.memory_mib : real;
    std::int64_t percent = (card.memory_mib * 100 + real / 2) / real;
    if (percent <= 100 + kSamePercent) return;
    constexpr std::int64_t kMost = 200;
    if (percent > kMost) {
      told->insert("memory beyond 200 % of the card is not handed out");
      spec->memory_mib = real;
      percent = kMost;
    } else {
      spec->memory_mib = card.memory_mib * 100 / percent;
    }
    spec->memory_ratio_percent = static_cast<std::int32_t>(percent);
  }

  static void SetMig(const Register& reg, const RegisteredCard& card, const CardModel* model,
                     CardSpec* spec, CardCondition* condition, std::set<std::string>* told) {
    spec->slots = 0;  // instances have their own places
    if (reg.version != HamiVersion::kV2_10 || card.mig.empty()) {
      condition->cordoned = true;
      told->insert("MIG cards take no new pods: its plugin cuts them by tables of its own");
      return;
    }
    spec->mode = CardMode::kMig;
    spec->memory_ratio_percent = 100;
    if (model == nullptr) return;
    for (const MigProfile& profile : model->rules.mig) {
      if (profile.media) continue;
      if (std::ranges::find(card.mig, profile.name, &RegisteredMig::name) == card.mig.end()) {
        told->insert("it does not offer the MIG profile " + profile.name + " of " + model->name);
      }
    }
  }

  Status CheckUuids() const {
    std::set<std::string_view> seen;
    for (const CardSpec& card : out_.spec.cards) {
      if (!seen.insert(card.uuid).second) {
        return Fail("node " + node_.name, "two registers have the card " + card.uuid);
      }
    }
    return {};
  }

  void ReadCordons() {
    const std::string list = TextAt(node_.annotations, kCordonKey);
    for (std::string_view uuid : SplitAt(list, ',')) {
      while (!uuid.empty() && uuid.front() == ' ') uuid.remove_prefix(1);
      while (!uuid.empty() && uuid.back() == ' ') uuid.remove_suffix(1);
      for (std::size_t i = 0; i < out_.spec.cards.size(); ++i) {
        if (out_.spec.cards[i].uuid == uuid) out_.conditions[i].cordoned = true;
      }
    }
  }

  void ReadPublished() {
    const std::string text = TextAt(node_.annotations, kMachineKey);
    if (text.empty()) return;
    Result<topology::PublishedMachine> read = topology::ParsePublished(text);
    if (!read) return Note(fmt::format("{}: {}", kMachineKey, read.error().ToString()));
    published_ = std::move(*read);
  }

  // A plugin that knows no ids: its cards are those that the node itself has told.
  void NameCards(std::vector<Register>* registers) const {
    if (!published_ || registers->size() != 1) return;
    Register& reg = registers->front();
    if (reg.platform != "plugin" || reg.cards.size() != published_->uuids.size()) return;
    for (std::size_t i = 0; i < reg.cards.size(); ++i) reg.cards[i].uuid = published_->uuids[i];
  }

  void ReadMachine() {
    const auto cards = static_cast<int>(out_.spec.cards.size());
    if (published_) {
      std::vector<std::string> uuids;
      for (const CardSpec& card : out_.spec.cards) uuids.push_back(card.uuid);
      if (published_->graph.cards() != cards) {
        Note(fmt::format("{}: has {} cards, the node {}", kMachineKey, published_->graph.cards(),
                         cards));
      } else if (!published_->uuids.empty() && published_->uuids != uuids) {
        Note(fmt::format("{}: is of other cards, or of these in another order", kMachineKey));
      } else {
        return SetMachine(published_->graph, "published");
      }
    }
    const std::string scores = TextAt(node_.annotations, kScoreKey);
    if (scores.empty() || cards == 0) return;
    const Result<topology::MachineGraph> graph = FromScores(scores);
    if (!graph) return Note(fmt::format("{}: {}", kScoreKey, graph.error().message));
    SetMachine(*graph, "hami-scores");
  }

  void SetMachine(const topology::MachineGraph& graph, const std::string& source) {
    std::string text = topology::FormatGraph(graph);
    if (text.size() > kMaxMachineText) return Note("the machine's description is too long");
    out_.spec.machine = std::move(text);
    out_.machine_source = source;
    for (const std::string& warning : graph.warnings) Note("machine: " + warning);
  }

  // [{"uuid":"GPU-a","score":{"GPU-b":110}}], of all the node's cards.
  Result<topology::MachineGraph> FromScores(const std::string& text) const {
    const std::string where = "scores";
    if (text.size() > kMaxScoreBytes) return Fail(where, "is larger than 256 KiB");
    const json list = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!list.is_array()) return Fail(where, "is not a JSON list");
    const auto& cards = out_.spec.cards;
    const auto place = [&](const std::string& uuid) {
      return std::ranges::find(cards, uuid, &CardSpec::uuid) - cards.begin();
    };
    const auto size = static_cast<Eigen::Index>(cards.size());
    Eigen::MatrixXi scores = Eigen::MatrixXi::Zero(size, size);
    std::vector<bool> seen(cards.size(), false);
    for (const json& row : list) {
      const auto uuid = row.is_object() ? row.find("uuid") : row.end();
      if (uuid == row.end() || !uuid->is_string()) return Fail(where, "an entry has no uuid");
      const Eigen::Index i = place(uuid->get<std::string>());
      if (i == size) return Fail(where, "is of other cards than the register");
      seen[static_cast<std::size_t>(i)] = true;
      const auto pairs = row.find("score");
      if (pairs == row.end() || pairs->is_null()) continue;
      if (!pairs->is_object()) return Fail(where, "an entry has no scores");
      for (const auto& [other, score] : pairs->items()) {
        const Eigen::Index j = place(other);
        if (!score.is_number_unsigned() || score.get<std::uint64_t>() > 1'000'000) {
          return Fail(where, "a score is no whole number");
        }
        if (j != size && j != i) scores(i, j) = score.get<std::int32_t>();
      }
    }
    if (std::ranges::find(seen, false) != seen.end()) return Fail(where, "is not of all cards");
    std::vector<int> numa;
    for (const CardSpec& card : cards) numa.push_back(card.numa);
    return topology::GraphOfPairScores(scores, cards.front().model, numa, where);
  }

  const Catalog& catalog_;
  const NodeResources& node_;
  std::optional<topology::PublishedMachine> published_;
  NodeRead out_;
};

std::vector<std::string> Ascending(const std::set<std::string>& keys) {
  return {keys.begin(), keys.end()};
}

}  // namespace

Result<NodeRead> ReadNode(const Catalog& catalog, const NodeResources& node) {
  return Reader(catalog, node).Read();
}

std::vector<std::string> NodeAnnotationKeys(const Catalog& catalog) {
  std::set<std::string> keys = {"enflame.com/gcu-drs-capacity",    "hami.io/node-amd-register",
                                "hami.io/node-biren-register",     "hami.io/node-dcu-register",
                                "hami.io/node-mlu-register",       "hami.io/node-nvidia-register",
                                "hami.io/node-register-xpu",       "hami.io/node-va-register",
                                "metax-tech.com/node-gpu-devices", "volcano.sh/node-vgpu-register"};
  for (const std::string_view key : {kMachineKey, kScoreKey, kCordonKey, kSoftKey}) {
    keys.emplace(key);
  }
  for (const Vendor& vendor : catalog.vendors) {
    for (const CardModel& model : vendor.models) {
      if (model.word.empty()) continue;
      keys.insert(vendor.name == "ascend" ? "hami.io/node-register-" + model.word
                                          : "hami.io/node-" + model.word + "-register");
    }
  }
  return Ascending(keys);
}

std::vector<std::string> GrantAnnotationKeys(const Catalog& catalog) {
  std::set<std::string> keys = {std::string(kGrantedKey), std::string(kMigPods)};
  for (const Vendor& vendor : catalog.vendors) {
    for (const Interface& interface : vendor.interfaces) {
      for (const CardModel& model : vendor.models) {
        if (!Serves(interface, model)) continue;
        const Interface own = HasWord(interface) ? ForWord(interface, model.word) : interface;
        for (const AnnotationForm& form : own.annotations) {
          if (IsGrant(form.key)) keys.insert(form.key);
        }
      }
    }
  }
  return Ascending(keys);
}

}  // namespace basalt::devices
