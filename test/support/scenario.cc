#include "test/support/scenario.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <stdexcept>

#include "devices/catalog.h"
#include "scheduler-core/base/suggest.h"
#include "test/support/cluster.h"
#include "topology/files/catalog.h"
#include "topology/synthetic.h"

namespace basalt::support {
namespace {

// Raised inside the parser only; ParseScenario turns it into an Error.
struct Bad : std::runtime_error {
  Bad(const YAML::Mark& mark, const std::string& what)
      : std::runtime_error(fmt::format("{}:{}: {}", mark.line + 1, mark.column + 1, what)) {}
};

void OnlyKeys(const YAML::Node& map, std::initializer_list<const char*> known) {
  if (!map.IsMap()) throw Bad(map.Mark(), "expected \"key: value\" pairs");
  for (const auto& entry : map) {
    const auto key = entry.first.as<std::string>();
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      throw Bad(
          entry.first.Mark(),
          "unknown key " + SuggestText(key, std::vector<std::string>(known.begin(), known.end())));
    }
  }
}

// A number in people's units, times `scale`, or `otherwise` when the key is absent.
std::int64_t Number(const YAML::Node& map, const char* key, double scale, std::int64_t otherwise) {
  if (!map[key]) return otherwise;
  return std::llround(map[key].as<double>() * scale);
}

std::vector<std::string> Strings(const YAML::Node& list) {
  if (!list) return {};
  if (list.IsScalar()) return {list.as<std::string>()};
  return list.as<std::vector<std::string>>();
}

std::vector<LabelRequirement> Labels(const YAML::Node& map) {
  std::vector<LabelRequirement> out;
  if (!map) return out;
  for (const auto& entry : map) {
    out.push_back({entry.first.as<std::string>(), entry.second.as<std::string>()});
  }
  return out;
}

CardMode Mode(const YAML::Node& node) {
  if (!node) return CardMode::kShared;
  const auto name = node.as<std::string>();
  if (name == "shared") return CardMode::kShared;
  if (name == "exclusive") return CardMode::kExclusive;
  if (name == "mig") return CardMode::kMig;
  if (name == "passthrough") return CardMode::kPassthrough;
  throw Bad(node.Mark(),
            "unknown mode \"" + name + "\"; known: shared, exclusive, mig, passthrough");
}

topology::NumaPolicy Policy(const YAML::Node& node) {
  if (!node) return topology::NumaPolicy::kNone;
  const auto policy = topology::ParseNumaPolicy(node.as<std::string>());
  if (!policy) throw Bad(node.Mark(), policy.error().message);
  return *policy;
}

std::uint64_t Job(const YAML::Node& node) {
  return node ? PodUidFromName(node.as<std::string>()).lo | 1 : 0;
}

// Without "gives way": as a pod that says nothing, which does.
Standing Stands(const YAML::Node& map) {
  Standing standing;
  if (map["queue"]) standing.queue = map["queue"].as<std::string>();
  if (map["gives way"]) standing.preemptible = map["gives way"].as<bool>();
  return standing;
}

NodeSpec ParseNode(const YAML::Node& map) {
  OnlyKeys(map, {"node", "cpu", "memory", "cards", "card memory", "slots", "mode", "labels",
                 "taints", "pods", "cordoned", "machine", "network", "numa", "numa policy",
                 "numa scope", "memory ratio", "groups", "uuids"});
  NodeSpec node;
  node.name = map["node"].as<std::string>();
  node.cpu_milli = Number(map, "cpu", 1000, 64'000);
  node.memory_mib = Number(map, "memory", 1024, 256 * 1024);
  node.max_pods = static_cast<std::int32_t>(Number(map, "pods", 1, 0));
  node.labels = Labels(map["labels"]);
  node.taints = Strings(map["taints"]);
  CardSpec card;
  card.memory_mib = Number(map, "card memory", 1024, 0);
  card.slots = static_cast<std::int32_t>(Number(map, "slots", 1, 0));
  card.mode = Mode(map["mode"]);
  card.memory_ratio_percent = static_cast<std::int32_t>(Number(map, "memory ratio", 1, 100));
  const YAML::Node cards = map["cards"];
  std::vector<std::string> models;
  if (cards && cards.IsScalar()) {  // "4 T4"
    std::istringstream words(cards.as<std::string>());
    std::size_t count = 0;
    std::string model;
    words >> count >> model;
    models.assign(count, model);
  } else {
    models = Strings(cards);
  }
  for (const std::string& model : models) {
    card.model = model;
    node.cards.push_back(card);
  }
  const std::vector<std::string> groups = Strings(map["groups"]);
  const std::vector<std::string> uuids = Strings(map["uuids"]);
  for (std::size_t i = 0; i < node.cards.size(); ++i) {
    if (i < groups.size()) node.cards[i].group = std::stoi(groups[i]);
    if (i < uuids.size()) node.cards[i].uuid = uuids[i];
  }
  if (map["machine"]) {
    const auto name = map["machine"].as<std::string>();
    const auto known = topology::CatalogMachine(name);
    node.machine = known ? topology::FormatGraph(*known) : name;
  }
  int tier = 0;
  for (const std::string& domain : Strings(map["network"])) {
    ++tier;
    if (domain != "-") node.network.push_back({tier, domain});  // "-": unknown
  }
  node.numa_nodes = static_cast<std::int32_t>(Number(map, "numa", 1, 1));
  node.numa_policy = Policy(map["numa policy"]);
  if (map["numa scope"]) {
    const auto scope = topology::ParseNumaScope(map["numa scope"].as<std::string>());
    if (!scope) throw Bad(map["numa scope"].Mark(), scope.error().message);
    node.numa_scope = *scope;
  }
  for (std::size_t i = 0; i < node.cards.size() && node.numa_nodes > 1; ++i) {
    if (!node.machine.empty()) break;  // the machine says where its cards are
    node.cards[i].numa = static_cast<std::int32_t>(i * static_cast<std::size_t>(node.numa_nodes) /
                                                   node.cards.size());
  }
  return node;
}

// What a pod takes: the keys that `busy` and `request` share.
RequestSpec ParseAsk(const YAML::Node& map, int cards) {
  RequestSpec spec;
  spec.cpu_milli = Number(map, "cpu", 1000, 0);
  spec.memory_mib = Number(map, "memory", 1024, 0);
  spec.gpus = cards;
  spec.gpu_memory_mib = Number(map, "card memory", 1024, 0);
  spec.gpu_memory_percent = static_cast<std::int32_t>(Number(map, "card memory percent", 1, 0));
  spec.compute_units = static_cast<std::int32_t>(Number(map, "units", 1, 0));
  if (map["profile"]) spec.mig_profile = map["profile"].as<std::string>();
  if (map["qos"]) spec.qos = map["qos"].as<std::string>();
  spec.passthrough = map["passthrough"] && map["passthrough"].as<bool>();
  if (map["class"]) {
    const auto service_class = ParseServiceClass(map["class"].as<std::string>());
    if (!service_class) throw Bad(map["class"].Mark(), service_class.error().message);
    spec.service_class = *service_class;
  }
  const bool other = spec.gpu_memory_mib > 0 || spec.gpu_memory_percent > 0 ||
                     spec.compute_units > 0 || !spec.mig_profile.empty();
  const std::int64_t whole = cards > 0 && !other ? kWholeCard : 0;
  spec.gpu_milli = static_cast<MilliGpu>(Number(map, "milli", 1, whole));
  return spec;
}

// Each container's part of the pod, which has nothing else of cards then.
void ParseContainers(const YAML::Node& list, RequestSpec* spec) {
  for (const auto& entry : list) {
    OnlyKeys(entry, {"cards", "milli", "units", "card memory", "card memory percent", "cpu",
                     "memory", "nics"});
    const RequestSpec ask = ParseAsk(entry, entry["cards"] ? entry["cards"].as<int>() : 0);
    ContainerSpec c;
    c.cpu_milli = ask.cpu_milli;
    c.memory_mib = ask.memory_mib;
    c.gpus = ask.gpus;
    c.nics = static_cast<std::int32_t>(Number(entry, "nics", 1, 0));
    c.gpu_milli = ask.gpu_milli;
    c.gpu_memory_mib = ask.gpu_memory_mib;
    c.gpu_memory_percent = ask.gpu_memory_percent;
    c.compute_units = ask.compute_units;
    spec->cpu_milli += c.cpu_milli;
    spec->memory_mib += c.memory_mib;
    spec->gpus += c.gpus;
    spec->nics += c.nics;
    spec->containers.push_back(c);
  }
  if (!spec->containers.empty()) spec->gpu_milli = 0;
}

Scenario Parse(const YAML::Node& root) {
  OnlyKeys(root, {"policy", "cluster", "rules", "slots", "busy", "request", "expect"});
  Scenario out;
  if (root["expect"].IsMap()) {
    for (const auto& entry : root["expect"]) {
      out.expected.emplace_back(entry.first.as<std::string>(), entry.second.as<std::string>());
    }
  } else {
    out.expected.emplace_back(root["policy"].as<std::string>(), root["expect"].as<std::string>());
  }
  for (const auto& entry : root["cluster"]) {
    out.nodes.push_back(ParseNode(entry));
    if (entry["cordoned"] && entry["cordoned"].as<bool>()) {
      out.cordoned.push_back(out.nodes.back().name);
    }
  }
  for (const std::string& model : Strings(root["rules"])) {
    static const devices::Catalog kCatalog = devices::EmbeddedCatalog();
    const std::size_t before = out.rules.size();
    for (const CardRules& rules : devices::CardRulesOf(kCatalog)) {
      if (rules.model == model) out.rules.push_back(rules);
    }
    if (out.rules.size() == before) {
      throw Bad(root["rules"].Mark(), "\"" + model + "\" is no model of the device catalog");
    }
  }
  for (const auto& entry : root["slots"]) {  // "team: 2 nodes of 8"
    std::istringstream words(entry.second.as<std::string>());
    std::string nodes, of;
    SlotQuota slots;
    words >> slots.count >> nodes >> of >> slots.cards;
    if (!words || nodes.substr(0, 4) != "node" || of != "of") {
      throw Bad(entry.second.Mark(), "expected \"2 nodes of 8\"");
    }
    QueueSpec queue;
    queue.name = entry.first.as<std::string>();
    queue.slots = {slots};
    out.queues.push_back(std::move(queue));
  }
  for (const auto& entry : root["busy"]) {
    OnlyKeys(entry, {"on", "cards", "milli", "card memory", "card memory percent", "cpu", "memory",
                     "job", "class", "qos", "passthrough", "queue", "gives way"});
    PodObserved pod;
    pod.uid = PodUid{1, out.busy.size()};
    pod.node = entry["on"].as<std::string>();
    for (const auto& card : entry["cards"]) pod.cards.Add(card.as<int>());
    pod.spec = ParseAsk(entry, pod.cards.size());
    pod.job = Job(entry["job"]);
    pod.standing = Stands(entry);
    out.busy.push_back(std::move(pod));
  }
  const YAML::Node request = root["request"];
  OnlyKeys(request, {"cards",        "milli",        "card memory", "card memory percent",
                     "cpu",          "memory",       "models",      "labels",
                     "tolerates",    "job",          "bandwidth",   "bandwidth required",
                     "nics",         "numa",         "gang",        "min",
                     "preferred",    "required",     "layout",      "containers",
                     "class",        "qos",          "units",       "vendors",
                     "profile",      "passthrough",  "use uuids",   "nouse uuids",
                     "nouse models", "memory ratio", "queue",       "gives way"});
  out.standing = Stands(request);
  out.request = ParseAsk(request, request["cards"] ? request["cards"].as<int>() : 0);
  out.request.models = Strings(request["models"]);
  out.request.node_selector = Labels(request["labels"]);
  out.request.tolerations = Strings(request["tolerates"]);
  out.request.min_bandwidth_mbps = static_cast<std::int32_t>(Number(request, "bandwidth", 1000, 0));
  out.request.bandwidth_required =
      request["bandwidth required"] && request["bandwidth required"].as<bool>();
  out.request.nics = static_cast<std::int32_t>(Number(request, "nics", 1, 0));
  out.request.numa = Policy(request["numa"]);
  out.request.vendors = Strings(request["vendors"]);
  out.request.use_uuids = Strings(request["use uuids"]);
  out.request.nouse_uuids = Strings(request["nouse uuids"]);
  out.request.nouse_models = Strings(request["nouse models"]);
  out.request.memory_ratio_percent =
      static_cast<std::int32_t>(Number(request, "memory ratio", 1, 0));
  ParseContainers(request["containers"], &out.request);
  out.job = Job(request["job"]);
  out.gang.members = static_cast<int>(Number(request, "gang", 1, 0));
  out.gang.min = static_cast<int>(Number(request, "min", 1, out.gang.members));
  out.gang.preferred = static_cast<int>(Number(request, "preferred", 1, 0));
  out.gang.required = static_cast<int>(Number(request, "required", 1, kAnyTier));
  if (request["layout"]) out.gang.layout = request["layout"].as<std::string>();
  return out;
}

}  // namespace

Result<Scenario> ParseScenario(const std::string& text, const std::string& name) {
  try {
    return Parse(YAML::Load(text));
  } catch (const Bad& bad) {
    return Fail("", name + ":" + bad.what());
  } catch (const YAML::Exception& bad) {
    return Fail("",
                fmt::format("{}:{}:{}: {}", name, bad.mark.line + 1, bad.mark.column + 1, bad.msg));
  }
}

Result<Scenario> LoadScenario(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Fail(path, "cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return ParseScenario(text.str(), path);
}

namespace {

std::string AnswerGang(const Scenario& scenario, Engine& engine, ShapeId shape) {
  GangRequest request;
  request.uid = PodUid{3, 0};
  GangTask task;
  task.name = "worker";
  task.shape = shape;
  task.min = scenario.gang.min;
  task.max = scenario.gang.members;
  request.spec.tasks.push_back(task);
  request.spec.level = LevelWish{scenario.gang.preferred, scenario.gang.required};
  const auto layout = ParseGangLayout(scenario.gang.layout);
  if (!layout) return layout.error().ToString();
  request.spec.layout = *layout;
  request.standing = scenario.standing;
  const auto outcome = engine.PlaceGang(request, SimTime{});
  if (!outcome) return outcome.error().ToString();
  if (outcome->kind == OutcomeKind::kWait) return "wait: " + outcome->reason;
  if (outcome->kind == OutcomeKind::kInfeasible) return "infeasible: " + outcome->reason;
  std::string nodes;
  for (const GangOutcome::Member& m : outcome->members) {
    nodes += (nodes.empty() ? "" : ", ") + engine.state().name(m.placement.node);
  }
  return fmt::format("placed {} on {}", outcome->members.size(), nodes);
}

}  // namespace

std::string Answer(const Scenario& scenario, const std::string& policy) {
  auto engine = MakeEngine(policy, {});
  for (const CardRules& rules : scenario.rules) {
    if (Status ok = engine->Apply(CardRulesSet{rules}, SimTime{}); !ok) {
      return ok.error().ToString();
    }
  }
  for (const NodeSpec& node : scenario.nodes) {
    if (Status ok = engine->Apply(NodeAdded{node}, SimTime{}); !ok) return ok.error().ToString();
  }
  for (const QueueSpec& queue : scenario.queues) {
    if (Status ok = engine->Apply(QueueSet{queue}, SimTime{}); !ok) return ok.error().ToString();
  }
  for (const PodObserved& pod : scenario.busy) {
    if (Status ok = engine->Apply(pod, SimTime{}); !ok) return ok.error().ToString();
  }
  for (const std::string& node : scenario.cordoned) {
    if (Status ok = engine->Apply(NodeCordoned{node, true}, SimTime{}); !ok) {
      return ok.error().ToString();
    }
  }
  const Result<ShapeId> shape = engine->InternShape(scenario.request);
  if (!shape) return shape.error().ToString();
  if (scenario.gang.members > 0) return AnswerGang(scenario, *engine, *shape);
  const Request request{PodUid{2, 0}, 0, *shape, scenario.job, scenario.standing};
  const Explanation why = engine->Explain(request);
  const Outcome outcome = engine->Place(request, SimTime{});
  if (outcome.kind != why.kind) return "the explanation contradicts the decision";
  if (outcome.kind == OutcomeKind::kWait) return "wait: " + why.text;
  if (outcome.kind == OutcomeKind::kInfeasible) return "infeasible: " + why.text;
  std::string answer = "placed on " + engine->state().name(outcome.placement.node);
  std::string cards;
  for (const int card : outcome.placement.cards) {
    cards += (cards.empty() ? "" : ", ") + std::to_string(card);
  }
  if (!cards.empty()) answer += " cards [" + cards + "]";
  if (outcome.placement.numa == nullptr) return answer;
  // Slice by slice where they are listed: container, card, milli, MIG profile at its slot.
  std::string slices;
  const ClusterState& state = engine->state();
  for (const SliceTake& s : outcome.placement.numa->slices) {
    const CardState& card = state.card(outcome.placement.node, s.card);
    slices += fmt::format("{}{}:{}={}m", slices.empty() ? "" : ", ", s.container, s.card, s.milli);
    if (s.mig_profile < 0) continue;
    const CardRules* rules = state.RulesOf(ModelId(std::uint32_t{card.model}));
    slices += fmt::format(" {}@{}", rules->mig[static_cast<std::size_t>(s.mig_profile)].name,
                          s.mig_start);
  }
  return slices.empty() ? answer : answer + " slices " + slices;
}

}  // namespace basalt::support
