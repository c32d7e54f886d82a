#include "traces/kube_objects.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "traces/csv.h"
#include "traces/kube_nodes.h"
#include "traces/kube_registers.h"
#include "traces/limits.h"
#include "traces/source.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

using Kind = JsonValue::Kind;
constexpr std::int64_t kMebi = std::int64_t{1} << 20;

std::string_view StatusOf(std::string_view phase) {
  if (phase == "Running") return "running";
  if (phase == "Succeeded") return "completed";
  if (phase == "Failed") return "failed";
  if (phase == "Pending") return "pending";
  return {};
}

// The labels and annotations that name a pod's queue, the first that is there.
std::string QueueOf(const JsonValue& metadata) {
  for (const auto& [where, key] :
       std::initializer_list<std::pair<std::string_view, std::string_view>>{
           {"annotations", "scheduling.volcano.sh/queue-name"},
           {"annotations", "volcano.sh/queue-name"},
           {"labels", "volcano.sh/queue-name"},
           {"labels", "kueue.x-k8s.io/queue-name"},
           {"labels", "kai.scheduler/queue"}}) {
    const std::string_view queue = metadata.TextAt({where, key});
    if (!queue.empty()) return std::string(queue);
  }
  return {};
}

// Tolerations that Kubernetes adds to every pod say nothing.
bool IsDefaultToleration(const JsonValue& toleration) {
  const std::string_view key = toleration.TextAt({"key"});
  return key == "node.kubernetes.io/not-ready" || key == "node.kubernetes.io/unreachable";
}

std::string Joined(const std::set<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

void JsonObject::AddJson(std::string_view key, std::string_view json) {
  if (text_.empty()) {
    text_ = "{";
  } else {
    text_.back() = ',';
  }
  text_ += nlohmann::json(key).dump() + ':' + std::string(json) + '}';
}
void JsonObject::AddText(std::string_view key, std::string_view text) {
  AddJson(key, nlohmann::json(text).dump());
}
void JsonObject::AddJson(std::string_view key, const JsonValue& value) {
  AddJson(key, ToJson(value));
}

void KubeReader::Report(const JsonValue& at, std::string message) {
  diagnostics_->Add(At(file_, at.line), std::move(message));
}

std::string KubeReader::Id(const JsonValue& object) {
  const std::string_view name = object.TextAt({"metadata", "name"});
  const std::string_view space = object.TextAt({"metadata", "namespace"});
  if (name.empty() || name.size() + space.size() + 1 > kMaxNameBytes) {
    Report(object, "metadata.name is missing or too long; every object has one");
    return {};
  }
  return space.empty() ? std::string(name) : std::string(space) + '/' + std::string(name);
}

std::int64_t KubeReader::Instant(const JsonValue* value) {
  std::int64_t us = kUnknownTime;
  if (value == nullptr || value->Is(Kind::kNull)) return us;
  if (!value->Is(Kind::kString) || !ParseInstant(value->text, &us)) {
    Report(*value,
           value->key + ' ' + Quoted(value->text) + " is not a time; write 2026-11-21T02:30:21Z");
  }
  return us;
}

std::int64_t KubeReader::Whole(const JsonValue* value, std::int64_t low, std::int64_t high,
                               std::int64_t otherwise) {
  if (value == nullptr || value->Is(Kind::kNull)) return otherwise;
  std::int64_t number = 0;
  if (value->Is(Kind::kNumber) && ParseWhole(value->text, true, &number) == NumberFault::kNone &&
      number >= low && number <= high) {
    return number;
  }
  Report(*value, value->key + ' ' + Quoted(value->text) + " is not a whole number; write " +
                     std::to_string(low) + ".." + std::to_string(high));
  return otherwise;
}

std::int64_t KubeReader::Amount(const Amounts& amounts, std::string_view name, std::int64_t num,
                                std::int64_t den, Round round, std::int64_t otherwise) {
  const auto found = amounts.find(name);
  if (found == amounts.end()) return otherwise;
  std::int64_t value = 0;
  bool exact = true;
  if (!ParseQuantity(found->second.text, num, den, round, &value, &exact) || value > kMaxAmount) {
    diagnostics_->Add(At(file_, found->second.line),
                      std::string(name) + ' ' + Quoted(found->second.text) +
                          " is not a quantity; write one such as 500m, 4 or 16Gi");
    return otherwise;
  }
  if (!exact) ++counts_->rounded;
  return value;
}

std::optional<Node> KubeReader::ReadNode(const JsonValue& object) {
  Node node;
  node.id = Id(object);
  Amounts amounts = AmountsOf(object.At({"status", "allocatable"}));
  if (amounts.empty()) amounts = AmountsOf(object.At({"status", "capacity"}));
  node.cpu_milli = Amount(amounts, "cpu", 1000, 1, Round::kDown, 0);
  node.memory_mib = Amount(amounts, "memory", 1, kMebi, Round::kDown, 0);
  node.disk_mib = Amount(amounts, "ephemeral-storage", 1, kMebi, Round::kDown, -1);
  const NodeCards cards = CardsOfNode(file_, object, &amounts, diagnostics_);
  if (cards.count > kMaxCards) {
    Report(object, "node " + Quoted(node.id) + " has " + std::to_string(cards.count) +
                       " cards; the most are " + std::to_string(kMaxCards) +
                       ". Are they shares? Then add its device plugin's register annotation");
    return std::nullopt;
  }
  node.gpu_count = static_cast<std::int32_t>(cards.count);
  if (cards.count > 0) {
    node.model = cards.model;
    std::ranges::replace(node.model, '|', '/');
    node.gpu_mem_mib = cards.mem_mib;
    if (node.model.empty()) {
      node.model = "GPU";
      ++counts_->unnamed_models;
    }
    if (cards.by_vendor) ++counts_->unnamed_models;
    if (cards.mixed) ++counts_->mixed_cards;
  }
  counts_->unhealthy += static_cast<std::size_t>(cards.unhealthy);
  if (!cards.shares.empty()) ++counts_->shared_nodes;
  counts_->share_names.insert(cards.shares.begin(), cards.shares.end());
  if (const JsonValue* labels = object.At({"metadata", "labels"})) {
    JsonObject kept;
    for (const JsonValue& label : labels->items) {
      if (label.Is(Kind::kString)) kept.AddText(label.key, label.text);
    }
    node.labels = kept.text();
    for (const auto& [tier, key] : std::initializer_list<std::pair<const char*, std::string_view>>{
             {"zone", "topology.kubernetes.io/zone"},
             {"region", "topology.kubernetes.io/region"}}) {
      const std::string_view name = labels->TextAt({key});
      if (name.empty() || name.find_first_of("=;") != std::string_view::npos) continue;
      if (!node.domains.empty()) node.domains += ';';
      node.domains += std::string(tier) + '=' + std::string(name);
    }
  }
  JsonObject extra;
  if (const JsonValue* taints = object.At({"spec", "taints"});
      taints != nullptr && !taints->items.empty()) {
    extra.AddJson("taints", *taints);
    ++counts_->tainted;
  }
  bool ready = true;
  if (const JsonValue* conditions = object.At({"status", "conditions"})) {
    for (const JsonValue& condition : conditions->items) {
      if (condition.TextAt({"type"}) == "Ready") ready = condition.TextAt({"status"}) == "True";
    }
  }
  const JsonValue* cordoned = object.At({"spec", "unschedulable"});
  const bool closed = cordoned != nullptr && cordoned->text == "true";
  if (closed) extra.AddJson("unschedulable", std::string_view("true"));
  if (!ready) extra.AddJson("ready", std::string_view("false"));
  if (closed || !ready) ++counts_->unready;
  JsonObject others;
  for (const auto& [name, amount] : amounts) {
    if (name != "cpu" && name != "memory" && name != "ephemeral-storage") {
      others.AddText(name, amount.text);
    }
  }
  if (!others.text().empty()) extra.AddJson("resources", others.text());
  node.extra = extra.text();
  return node;
}

void KubeReader::PutCards(const PodAsk& pod, CardAsk ask, Task* task, JsonObject* extra) {
  if (ask.cards == 0) return;
  if (ask.mem_percent > 0) {
    if (ask.milli == 0) ask.milli = ask.mem_percent * 10;
    if (ask.milli < kWholeCard) {
      extra->AddText("gpu_mem_percent", std::to_string(ask.mem_percent));
      ++counts_->percent_memory;
    }
  }
  if (!pod.mig_profile.empty()) {
    extra->AddText("mig_profile", pod.mig_profile);
    ++counts_->mig;
  }
  if (pod.units > 0) {
    extra->AddText("gpu_compute_units", std::to_string(pod.units));
    ++counts_->units;
    ask.milli = std::max<std::int64_t>(ask.milli, 1);
  }
  if (ask.milli == 0) {
    ask.milli = 1;
    extra->AddText("gpu_compute", "unlimited");
    ++counts_->unlimited_compute;
  }
  if (!pod.types.empty()) {
    JsonObject types;
    for (const auto& [key, text] : pod.types) types.AddText(key, text);
    extra->AddJson("gpu_types", types.text());
    ++counts_->unknown_types;
  }
  task->gpu_num = static_cast<std::int32_t>(ask.cards);
  task->gpu_milli = static_cast<MilliGpu>(ask.milli);
  task->gpu_mem_mib = ask.mem_mib;
}

// A pod's requests are those of its containers together, or of the largest of its init containers
// if that is more; sidecars (init containers that always restart) run along with both; overhead
// comes on top. A limit stands for a request that is not there.
Task KubeReader::ReadAsk(const JsonValue* metadata, const JsonValue* spec) {
  Task task;
  task.task = "pod";
  JsonObject extra, others;
  std::vector<KubeContainer> containers;
  Sum running, init;  // sidecars count in `running`
  const auto read = [&](const JsonValue& container, bool in_init) {
    Amounts limits = AmountsOf(container.At({"resources", "limits"}));
    Amounts requests = AmountsOf(container.At({"resources", "requests"}));
    Sum sum;
    const auto amount = [&](std::string_view name, std::int64_t num, std::int64_t den) {
      return Amount(requests.contains(name) ? requests : limits, name, num, den, Round::kUp, 0);
    };
    sum.cpu = amount("cpu", 1000, 1);
    sum.memory = amount("memory", 1, kMebi);
    sum.disk = amount("ephemeral-storage", 1, kMebi);
    const bool sidecar = in_init && container.TextAt({"restartPolicy"}) == "Always";
    if (in_init && !sidecar) {
      init.cpu = std::max(init.cpu, running.cpu + sum.cpu);
      init.memory = std::max(init.memory, running.memory + sum.memory);
      init.disk = std::max(init.disk, running.disk + sum.disk);
    } else {
      running.cpu += sum.cpu;
      running.memory += sum.memory;
      running.disk += sum.disk;
    }
    containers.push_back({std::string(container.TextAt({"name"})), in_init, sidecar,
                          std::move(limits), std::move(requests)});
  };
  if (spec != nullptr) {
    for (const bool in_init : {true, false}) {
      const JsonValue* list = spec->Find(in_init ? "initContainers" : "containers");
      if (list == nullptr) continue;
      for (const JsonValue& container : list->items) read(container, in_init);
    }
    const Amounts overhead = AmountsOf(spec->Find("overhead"));
    task.cpu_milli =
        std::max(running.cpu, init.cpu) + Amount(overhead, "cpu", 1000, 1, Round::kUp, 0);
    task.memory_mib =
        std::max(running.memory, init.memory) + Amount(overhead, "memory", 1, kMebi, Round::kUp, 0);
    const std::int64_t disk = std::max(running.disk, init.disk);
    if (disk > 0) task.disk_mib = disk;
  }
  if (task.cpu_milli > kMaxAmount || task.memory_mib > kMaxAmount) {
    diagnostics_->Add(At(file_, spec->line), "the pod asks for more than 10^12 units; correct it");
    task.cpu_milli = task.memory_mib = 0;
  }
  const JsonValue* annotations = metadata == nullptr ? nullptr : metadata->Find("annotations");
  const PodAsk cards = TakeCards(file_, annotations, &containers, diagnostics_);
  for (KubeContainer& container : containers) {
    for (const Amounts* list : {&container.requests, &container.limits}) {
      for (const auto& [name, left] : *list) {
        if (IsDevice(name) && (list == &container.requests || !container.requests.contains(name))) {
          others.AddText(name, left.text);
          counts_->other_names.insert(name);
        }
      }
    }
  }
  CardAsk ask;
  std::string model;
  if (CardsOfAnnotations(file_, annotations, &ask, &model, diagnostics_)) {
    task.gpu_spec = model;
  } else {
    task.gpu_spec = cards.models;
    const std::vector<CardAsk>& asks = cards.asks;
    bool uneven = false;
    for (const CardAsk& one : asks) {
      uneven |= one.milli != asks.front().milli || one.mem_mib != asks.front().mem_mib ||
                one.mem_percent != asks.front().mem_percent;
      ask.cards += one.cards;
      ask.milli = std::max(ask.milli, one.milli);
      ask.mem_mib = std::max(ask.mem_mib, one.mem_mib);
      ask.mem_percent = std::max(ask.mem_percent, one.mem_percent);
    }
    if (uneven) {
      std::string list;
      for (const CardAsk& one : asks) {
        list += (list.empty() ? "[" : ",") + nlohmann::json{{"cards", one.cards},
                                                            {"milli", one.milli},
                                                            {"mem_mib", one.mem_mib},
                                                            {"mem_percent", one.mem_percent}}
                                                 .dump();
      }
      extra.AddJson("containers", list + ']');
      task.split = "assumed";
      ++counts_->uneven_containers;
    }
  }
  if (ask.cards > kMaxCards) {
    diagnostics_->Add(At(file_, spec->line), "the pod asks for more than " +
                                                 std::to_string(kMaxCards) + " cards; correct it");
    ask = {};
  }
  PutCards(cards, ask, &task, &extra);
  if (!others.text().empty()) {
    extra.AddJson("resources", others.text());
    ++counts_->other_devices;
  }
  if (spec != nullptr) {
    bool bound_to_some = false;
    for (const auto& [key, name] :
         std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"nodeSelector", "node_selector"}, {"affinity", "affinity"}}) {
      const JsonValue* value = spec->Find(key);
      if (value == nullptr || value->items.empty()) continue;
      extra.AddJson(name, *value);
      bound_to_some = true;
    }
    std::string tolerations;
    if (const JsonValue* list = spec->Find("tolerations")) {
      for (const JsonValue& one : list->items) {
        if (!IsDefaultToleration(one))
          tolerations += (tolerations.empty() ? "[" : ",") + ToJson(one);
      }
    }
    if (!tolerations.empty()) extra.AddJson("tolerations", tolerations + ']');
    if (task.gpu_spec.empty() && task.gpu_num > 0) {
      task.gpu_spec = CatalogModel(spec->TextAt({"nodeSelector", "nvidia.com/gpu.product"}), false);
    }
    if (bound_to_some) ++counts_->constraints;
  }
  task.extra = extra.text();
  return task;
}

std::optional<Pod> KubeReader::ReadPod(const JsonValue& object) {
  Pod pod;
  pod.line = object.line;
  pod.row.id = Id(object);
  const JsonValue* metadata = object.Find("metadata");
  if (pod.row.id.empty() || metadata == nullptr) return std::nullopt;
  pod.space = metadata->TextAt({"namespace"});
  pod.name = metadata->TextAt({"name"});
  pod.group = metadata->TextAt({"annotations", "scheduling.k8s.io/group-name"});
  pod.job = metadata->TextAt({"annotations", "volcano.sh/job-name"});
  pod.task = metadata->TextAt({"annotations", "volcano.sh/task-spec"});
  std::int64_t index = 0;
  if (ParseWhole(metadata->TextAt({"annotations", "volcano.sh/task-index"}), false, &index) ==
          NumberFault::kNone &&
      index < kMaxReplicas) {
    pod.index = static_cast<std::int32_t>(index);
  }
  if (const JsonValue* owners = metadata->Find("ownerReferences")) {
    for (const JsonValue& owner : owners->items) {
      const JsonValue* controller = owner.Find("controller");
      if (controller == nullptr || controller->text != "true") continue;
      pod.owner = std::string(owner.TextAt({"kind"})) + '/' + pod.space + '/' +
                  std::string(owner.TextAt({"name"}));
    }
  }
  const JsonValue* spec = object.Find("spec");
  Job& job = pod.row;
  job.parent_id = pod.owner;
  job.tenant = pod.space;
  job.queue = QueueOf(*metadata);
  job.priority_class = object.TextAt({"spec", "priorityClassName"});
  const std::string_view preemptable = metadata->TextAt({"annotations", "volcano.sh/preemptable"});
  if (preemptable == "true" || preemptable == "false") {
    job.preemptible = preemptable == "true" ? 1 : 0;
  }
  job.status_raw = object.TextAt({"status", "phase"});
  job.status = StatusOf(job.status_raw);
  job.submit_us = Instant(metadata->Find("creationTimestamp"));
  job.start_us = Instant(object.At({"status", "startTime"}));
  if (const JsonValue* conditions = object.At({"status", "conditions"});
      conditions != nullptr && job.start_us == kUnknownTime) {
    for (const JsonValue& condition : conditions->items) {
      if (condition.TextAt({"type"}) == "PodScheduled" && condition.TextAt({"status"}) == "True") {
        job.start_us = Instant(condition.Find("lastTransitionTime"));
      }
    }
  }
  const bool ended = job.status == "completed" || job.status == "failed";
  if (const JsonValue* statuses = object.At({"status", "containerStatuses"});
      statuses != nullptr && ended) {
    for (const JsonValue& status : statuses->items) {
      const std::int64_t end = Instant(status.At({"state", "terminated", "finishedAt"}));
      if (end != kUnknownTime) job.end_us = std::max(job.end_us, end);
    }
  }
  if (job.start_us != kUnknownTime && job.end_us != kUnknownTime && job.end_us < job.start_us) {
    Report(object, "the pod's containers finished before it started; correct the times");
  }
  if (!ended) job.censor = "right";
  JsonObject extra;
  const JsonValue* priority = object.At({"spec", "priority"});
  if (priority != nullptr && priority->Is(Kind::kNumber) && priority->text != "0") {
    extra.AddJson("priority", *priority);
  }
  if (!pod.group.empty()) extra.AddText("pod_group", pod.group);
  job.extra = extra.text();
  pod.node = object.TextAt({"spec", "nodeName"});
  pod.cards = CardsOfPod(metadata->Find("annotations"));
  pod.ask = ReadAsk(metadata, spec);
  pod.ask.job_id = job.id;
  return pod;
}

void AddKubeNotes(const KubeCounts& counts, std::vector<std::string>* notes) {
  const auto note = [&](std::size_t n, std::string_view one, std::string_view many,
                        std::string_view rest) {
    if (n > 0) notes->push_back(CountOf(n, one, many) + std::string(rest));
  };
  note(counts.unnamed_models, "node says", "nodes say",
       " no model of its cards: the vendor's name, or GPU");
  note(counts.mixed_cards, "node has", "nodes have",
       " cards of several models or sizes: the first model and the smallest memory");
  note(counts.tainted, "node has", "nodes have", " taints: they stand in extra alone");
  note(counts.unready, "node is", "nodes are",
       " cordoned or not ready: that stands in extra alone and they are in the trace");
  note(counts.unlimited_compute, "pod shares", "pods share",
       " a card without a compute limit: gpu_milli 1, the least, stands for it");
  note(counts.percent_memory, "pod asks", "pods ask",
       " for card memory in percent: it stands in extra.gpu_mem_percent, and without a compute "
       "limit gpu_milli is so much of the card");
  note(counts.uneven_containers, "pod has", "pods have",
       " containers that ask for different parts of cards: all cards by the largest, the parts in "
       "extra.containers");
  note(counts.other_devices, "pod asks", "pods ask",
       " for devices that have no column (" + Joined(counts.other_names) +
           "): they stand in extra.resources alone");
  note(counts.mig, "pod asks", "pods ask",
       " for MIG slices: their memory and compute are the profile's, which stands in "
       "extra.mig_profile");
  note(counts.unknown_types, "pod chooses", "pods choose",
       " types of cards that the catalog does not have: the annotations stand in extra.gpu_types "
       "alone");
  note(counts.units, "pod asks", "pods ask",
       " for compute in units (basalt.io/gpu-compute-units), which no column holds: they stand in "
       "extra.gpu_compute_units, and without another amount gpu_milli is 1");
  note(counts.unhealthy, "registered card is", "registered cards are",
       " not healthy: they are not counted");
  note(counts.shared_nodes, "node offers", "nodes offer",
       " shares of cards and has no register of its device plugin, so that its cards are not known "
       "(" +
           Joined(counts.share_names) + "): they stand in extra.resources alone");
  note(counts.constraints, "pod has", "pods have",
       " a node selector or affinity: it stands in extra, only nvidia.com/gpu.product became "
       "gpu_spec");
  note(counts.rounded, "quantity is", "quantities are",
       " rounded to milli-cores or MiB, requests up and capacities down");
}

}  // namespace basalt::trace
