#include "traces/k8s.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include "traces/json_records.h"
#include "traces/kube_objects.h"
#include "traces/kube_quantity.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

using Kind = JsonValue::Kind;
constexpr std::int64_t kMebi = std::int64_t{1} << 20;

std::string JobStatus(std::string_view phase) {
  if (phase == "Pending" || phase == "Inqueue") return "pending";
  if (phase == "Running" || phase == "Restarting" || phase == "Completing") return "running";
  if (phase == "Completed") return "completed";
  if (phase == "Failed") return "failed";
  if (phase == "Aborting" || phase == "Aborted" || phase == "Terminating" ||
      phase == "Terminated") {
    return "cancelled";
  }
  return {};
}

struct PodGroup {
  std::string file;
  std::uint32_t line = 0;
  std::string owner_job;  // "namespace/name" of the Job that owns it
  std::int32_t min_member = 1;
  std::map<std::string, std::int32_t> min_of_task;
  Job row;
  Task part;  // one of minMember equal parts of minResources
  bool has_resources = false;
};

class Cluster {
 public:
  Cluster(bool volcano, Diagnostics* diagnostics) : volcano_(volcano), diagnostics_(diagnostics) {}

  void Read(const SourceText& source);
  Trace Finish();

 private:
  void Object(const SourceText& source, const JsonValue& object);
  void AddJob(const SourceText& source, KubeReader& reader, const JsonValue& object);
  void AddPodGroup(const SourceText& source, KubeReader& reader, const JsonValue& object);
  void AddQueue(KubeReader& reader, const JsonValue& object);
  void FinishQueues();
  void FinishPodGroups();
  void FinishPods();
  void AddPodJob(Pod& pod);
  void AddGroupJob(PodGroup& group, std::vector<Pod*>& pods);
  void Bind(const Pod& pod, const std::string& job, const std::string& task, std::int32_t replica);
  bool Unique(std::string_view kind, const std::string& id, const std::string& file,
              std::uint32_t line);

  bool volcano_;
  Diagnostics* diagnostics_;
  Trace trace_;
  KubeCounts counts_;
  std::map<std::string, std::string> seen_;  // kind + id -> where
  std::vector<Pod> pods_;
  std::map<std::string, PodGroup> groups_;             // by "namespace/name"
  std::unordered_map<std::string, std::size_t> jobs_;  // Volcano's, by "namespace/name"
  std::size_t loose_minimum_ = 0, orphan_queues_ = 0, from_groups_ = 0, lost_pods_ = 0;
};

bool Cluster::Unique(std::string_view kind, const std::string& id, const std::string& file,
                     std::uint32_t line) {
  const auto [it, added] = seen_.emplace(std::string(kind) + ' ' + id, At(file, line));
  if (!added) {
    diagnostics_->Add(At(file, line), std::string(kind) + ' ' + Quoted(id) + " is already at " +
                                          it->second + "; give each object once");
  }
  return added;
}

void Cluster::Read(const SourceText& source) {
  ReadJsonRecords(source, diagnostics_, [&](const JsonValue& object) { Object(source, object); });
}

void Cluster::Object(const SourceText& source, const JsonValue& object) {
  KubeReader reader(source.name, &counts_, diagnostics_);
  const std::string_view kind = object.TextAt({"kind"});
  const std::string_view version = object.TextAt({"apiVersion"});
  if (kind == "List" || kind.ends_with("NodeList") || kind.ends_with("PodList")) return;  // empty
  if (kind == "Node") {
    std::optional<Node> node = reader.ReadNode(object);
    if (node && Unique(kind, node->id, source.name, object.line)) {
      trace_.nodes.push_back(*std::move(node));
    }
    return;
  }
  if (kind == "Pod") {
    std::optional<Pod> pod = reader.ReadPod(object);
    if (pod && Unique(kind, pod->row.id, source.name, object.line)) {
      pods_.push_back(*std::move(pod));
    }
    return;
  }
  if (volcano_ && kind == "Job" && version.starts_with("batch.volcano.sh/")) {
    return AddJob(source, reader, object);
  }
  if (volcano_ && kind == "PodGroup" && version.starts_with("scheduling.volcano.sh/")) {
    return AddPodGroup(source, reader, object);
  }
  if (volcano_ && kind == "Queue" && version.starts_with("scheduling.volcano.sh/")) {
    return AddQueue(reader, object);
  }
  reader.Report(object, "kind " + Quoted(kind) + " of " + Quoted(version) + " is not read by " +
                            (volcano_ ? "volcano; give it Nodes, Pods and Volcano's Jobs, "
                                        "PodGroups and Queues"
                                      : "k8s; give it Nodes and Pods, or use the format volcano"));
}

void Cluster::AddJob(const SourceText& source, KubeReader& reader, const JsonValue& object) {
  Job job;
  job.id = reader.Id(object);
  if (job.id.empty() || !Unique("Job", job.id, source.name, object.line)) return;
  job.tenant = object.TextAt({"metadata", "namespace"});
  job.queue = object.TextAt({"spec", "queue"});
  job.priority_class = object.TextAt({"spec", "priorityClassName"});
  job.status_raw = object.TextAt({"status", "state", "phase"});
  job.status = JobStatus(job.status_raw);
  const std::string_view preemptable =
      object.TextAt({"metadata", "annotations", "volcano.sh/preemptable"});
  if (preemptable == "true" || preemptable == "false") {
    job.preemptible = preemptable == "true" ? 1 : 0;
  }
  job.submit_us = reader.Instant(object.At({"metadata", "creationTimestamp"}));
  if (const JsonValue* conditions = object.At({"status", "conditions"})) {
    for (const JsonValue& condition : conditions->items) {
      if (condition.TextAt({"status"}) == "Running" && job.start_us == kUnknownTime) {
        job.start_us = reader.Instant(condition.Find("lastTransitionTime"));
      }
    }
  }
  const bool ended =
      job.status == "completed" || job.status == "failed" || job.status == "cancelled";
  if (ended) job.end_us = reader.Instant(object.At({"status", "state", "lastTransitionTime"}));
  if (!ended) job.censor = "right";
  if (job.start_us != kUnknownTime && job.end_us != kUnknownTime && job.end_us < job.start_us) {
    reader.Report(object, "the job ends before it runs; correct the times of its status");
  }
  const JsonValue* tasks = object.At({"spec", "tasks"});
  if (tasks == nullptr || !tasks->Is(Kind::kArray) || tasks->items.empty()) {
    reader.Report(object, "spec.tasks is missing or empty; a Job has one task or more");
    return;
  }
  const std::size_t first = trace_.tasks.size();
  std::int64_t replicas = 0;
  for (const JsonValue& item : tasks->items) {
    Task task = reader.ReadAsk(item.At({"template", "metadata"}), item.At({"template", "spec"}));
    task.job_id = job.id;
    task.task = item.TextAt({"name"});
    // Volcano's webhook gives tasks without a name this one.
    if (task.task.empty()) {
      task.task = "default" + std::to_string(&item - tasks->items.data());
    }
    task.replicas =
        static_cast<std::int32_t>(reader.Whole(item.Find("replicas"), 0, kMaxReplicas, 1));
    if (task.replicas == 0) continue;
    task.gang_min =
        static_cast<std::int32_t>(reader.Whole(item.Find("minAvailable"), 0, task.replicas, -1));
    replicas += task.replicas;
    for (std::size_t i = first; i < trace_.tasks.size(); ++i) {
      if (trace_.tasks[i].task == task.task) {
        reader.Report(item, "task " + Quoted(task.task) + " is there twice; rename one");
      }
    }
    trace_.tasks.push_back(std::move(task));
  }
  if (trace_.tasks.size() == first) {
    reader.Report(object, "all tasks have 0 replicas; remove the job");
    return;
  }
  JsonObject extra;
  // The job's minimum is of all tasks together; where it says no more than theirs it is theirs.
  const std::int64_t least = reader.Whole(object.At({"spec", "minAvailable"}), 0,
                                          std::int64_t{kMaxReplicas} * kMaxReplicas, replicas);
  const bool one_task = trace_.tasks.size() == first + 1;
  for (std::size_t i = first; i < trace_.tasks.size(); ++i) {
    Task& task = trace_.tasks[i];
    if (least >= replicas) task.gang_min = task.replicas;
    if (task.gang_min < 0 && one_task) task.gang_min = static_cast<std::int32_t>(least);
  }
  if (least < replicas && !one_task) {
    extra.AddText("min_available", std::to_string(least));
    ++loose_minimum_;
  }
  if (const JsonValue* topology = object.At({"spec", "networkTopology"})) {
    extra.AddJson("network_topology", *topology);
  }
  job.extra = extra.text();
  jobs_.emplace(job.id, trace_.jobs.size());
  trace_.jobs.push_back(std::move(job));
}

void Cluster::AddPodGroup(const SourceText& source, KubeReader& reader, const JsonValue& object) {
  PodGroup group;
  group.file = source.name;
  group.line = object.line;
  Job& job = group.row;
  job.id = reader.Id(object);
  if (job.id.empty() || !Unique("PodGroup", job.id, source.name, object.line)) return;
  job.tenant = object.TextAt({"metadata", "namespace"});
  job.queue = object.TextAt({"spec", "queue"});
  job.priority_class = object.TextAt({"spec", "priorityClassName"});
  job.status_raw = object.TextAt({"status", "phase"});
  job.status = JobStatus(job.status_raw);
  job.submit_us = reader.Instant(object.At({"metadata", "creationTimestamp"}));
  if (job.status != "completed") job.censor = "right";
  if (const JsonValue* owners = object.At({"metadata", "ownerReferences"})) {
    for (const JsonValue& owner : owners->items) {
      if (owner.TextAt({"kind"}) != "Job" ||
          !owner.TextAt({"apiVersion"}).starts_with("batch.volcano.sh/")) {
        continue;
      }
      group.owner_job = job.tenant + '/' + std::string(owner.TextAt({"name"}));
    }
  }
  group.min_member =
      static_cast<std::int32_t>(reader.Whole(object.At({"spec", "minMember"}), 0, kMaxReplicas, 1));
  if (const JsonValue* tasks = object.At({"spec", "minTaskMember"})) {
    for (const JsonValue& task : tasks->items) {
      group.min_of_task[task.key] =
          static_cast<std::int32_t>(reader.Whole(&task, 0, kMaxReplicas, 0));
    }
  }
  // A pod of the resources of one member, in the words of a pod's spec.
  const JsonValue* resources = object.At({"spec", "minResources"});
  if (resources != nullptr && !resources->items.empty() && group.min_member > 0) {
    Amounts amounts = AmountsOf(resources);
    const auto share = [&](std::string_view name, std::int64_t num, std::int64_t den) {
      const auto found = amounts.find(name);
      std::int64_t value = 0;
      if (found == amounts.end()) return value;
      if (!ParseQuantity(found->second.text, num, den * group.min_member, Round::kUp, &value) ||
          value > kMaxAmount) {
        diagnostics_->Add(At(source.name, found->second.line),
                          std::string(name) + ' ' + Quoted(found->second.text) +
                              " is not a quantity; write one such as 500m, 4 or 16Gi");
        value = 0;
      }
      return value;
    };
    group.part.cpu_milli = share("cpu", 1000, 1);
    group.part.memory_mib = share("memory", 1, kMebi);
    KubeContainer member;
    member.name = "member";
    for (const auto& [name, amount] : amounts) {
      if (!IsCardName(name)) continue;
      // Some plugins take a number with a binary suffix for bytes, so it keeps one.
      const bool suffix = amount.text.ends_with('i');
      member.limits[name] = {
          std::to_string(share(name, 1, suffix ? 1024 : 1)) + (suffix ? "Ki" : ""), amount.line};
    }
    std::vector<KubeContainer> members = {std::move(member)};
    const PodAsk asked =
        TakeCards(source.name, object.At({"metadata", "annotations"}), &members, diagnostics_);
    JsonObject extra;
    extra.AddJson("min_resources", *resources);
    if (!asked.asks.empty()) {
      reader.PutCards(asked, asked.asks.front(), &group.part, &extra);
      group.part.gpu_spec = asked.models;
    }
    group.part.extra = extra.text();
    group.has_resources = true;
  }
  groups_.emplace(job.id, std::move(group));
}

void Cluster::AddQueue(KubeReader& reader, const JsonValue& object) {
  Queue queue;
  queue.name = reader.Id(object);
  if (queue.name.empty()) return;
  queue.parent = object.TextAt({"spec", "parent"});
  queue.weight = reader.Whole(object.At({"spec", "weight"}), 0, kMaxAmount, -1);
  const auto amounts = [&](std::initializer_list<std::string_view> path) -> std::string {
    const JsonValue* value = object.At(path);
    if (value == nullptr || value->Is(Kind::kNull)) return {};
    if (value->Is(Kind::kObject)) return value->items.empty() ? std::string() : ToJson(*value);
    reader.Report(*value, value->key + " is not an object of resources; write {\"cpu\": \"8\"}");
    return {};
  };
  queue.guarantee = amounts({"spec", "guarantee", "resource"});
  queue.deserved = amounts({"spec", "deserved"});
  queue.capacity = amounts({"spec", "capability"});
  JsonObject extra;
  for (const std::string_view key : {"reclaimable", "priority", "type", "affinity"}) {
    if (const JsonValue* value = object.At({"spec", key})) extra.AddJson(key, *value);
  }
  if (const JsonValue* state = object.At({"status", "state"})) extra.AddJson("state", *state);
  queue.extra = extra.text();
  if (std::ranges::find(trace_.queues, queue.name, &Queue::name) != trace_.queues.end()) {
    reader.Report(object, "queue " + Quoted(queue.name) + " is there twice; give each object once");
    return;
  }
  trace_.queues.push_back(std::move(queue));
}

// A parent that was not given (Volcano makes "root" by itself) is kept by name.
void Cluster::FinishQueues() {
  for (Queue& queue : trace_.queues) {
    if (queue.parent.empty() ||
        std::ranges::find(trace_.queues, queue.parent, &Queue::name) != trace_.queues.end()) {
      continue;
    }
    JsonObject extra;
    extra.AddText("parent", queue.parent);
    if (!queue.extra.empty()) extra.AddJson("queue", queue.extra);
    queue.extra = extra.text();
    queue.parent.clear();
    ++orphan_queues_;
  }
}

void Cluster::Bind(const Pod& pod, const std::string& job, const std::string& task,
                   std::int32_t replica) {
  if (pod.node.empty()) return;
  Placement placement;
  placement.job_id = job;
  placement.task = task;
  placement.replica = replica;
  placement.node_id = pod.node;
  placement.gpu_ids = pod.cards;
  placement.start_us = pod.row.start_us;
  placement.end_us = pod.row.end_us;
  placement.outcome = pod.row.status_raw;
  trace_.placements.push_back(std::move(placement));
}

void Cluster::AddPodJob(Pod& pod) {
  Bind(pod, pod.row.id, pod.ask.task, 0);
  trace_.jobs.push_back(std::move(pod.row));
  trace_.tasks.push_back(std::move(pod.ask));
}

void Cluster::AddGroupJob(PodGroup& group, std::vector<Pod*>& pods) {
  Job& job = group.row;
  const std::size_t first = trace_.tasks.size();
  for (Pod* pod : pods) {
    Task ask = pod->ask;
    ask.job_id = job.id;
    // The task with this request, which counts its replicas up, or a new one.
    std::size_t t = first;
    for (; t < trace_.tasks.size(); ++t) {
      Task same = trace_.tasks[t];
      same.task = ask.task;
      same.replicas = 1;
      if (same == ask) break;
    }
    if (t == trace_.tasks.size()) {
      if (t > first) ask.task += '-' + std::to_string(t - first);
      trace_.tasks.push_back(std::move(ask));
    } else {
      ++trace_.tasks[t].replicas;
    }
    Bind(*pod, job.id, trace_.tasks[t].task, trace_.tasks[t].replicas - 1);
    if (job.start_us == kUnknownTime) job.start_us = pod->row.start_us;
    if (pod->row.start_us != kUnknownTime) {
      job.start_us = std::min(job.start_us, pod->row.start_us);
    }
    if (job.parent_id.empty()) job.parent_id = pod->owner;
  }
  const auto count = static_cast<std::int32_t>(pods.size());
  for (std::size_t t = first; t < trace_.tasks.size(); ++t) {
    Task& task = trace_.tasks[t];
    if (group.min_member >= count) task.gang_min = task.replicas;
    if (trace_.tasks.size() == first + 1) task.gang_min = std::min(group.min_member, count);
  }
  JsonObject extra;
  if (group.min_member > count || (group.min_member < count && trace_.tasks.size() > first + 1)) {
    extra.AddText("min_member", std::to_string(group.min_member));
    ++loose_minimum_;
  }
  job.extra = extra.text();
  trace_.jobs.push_back(std::move(job));
}

void Cluster::FinishPods() {
  // Of a task, by job and task name: which replica is next when a pod does not say.
  std::map<std::pair<std::string, std::string>, std::int32_t> next;
  std::map<std::string, std::vector<Pod*>> grouped;
  for (Pod& pod : pods_) {
    const std::string job = pod.space.empty() ? pod.job : pod.space + '/' + pod.job;
    if (volcano_ && !pod.job.empty() && jobs_.contains(job)) {
      const auto task = std::ranges::find_if(
          trace_.tasks, [&](const Task& t) { return t.job_id == job && t.task == pod.task; });
      if (task == trace_.tasks.end()) {
        ++lost_pods_;
        continue;
      }
      std::int32_t& following = next[{job, pod.task}];
      const std::int32_t replica = pod.index.value_or(following);
      following = replica + 1;
      Bind(pod, job, pod.task, replica);
      continue;
    }
    const std::string group = pod.space.empty() ? pod.group : pod.space + '/' + pod.group;
    if (volcano_ && !pod.group.empty() && groups_.contains(group)) {
      grouped[group].push_back(&pod);
    } else {
      AddPodJob(pod);
    }
  }
  for (auto& [id, group] : groups_) {
    if (!group.owner_job.empty() && jobs_.contains(group.owner_job)) continue;
    if (const auto pods = grouped.find(id); pods != grouped.end()) {
      AddGroupJob(group, pods->second);
      continue;
    }
    group.part.job_id = id;
    group.part.task = "member";
    group.part.replicas = std::max(group.min_member, 1);
    group.part.gang_min = group.part.replicas;
    group.part.split = "assumed";
    ++from_groups_;
    trace_.jobs.push_back(std::move(group.row));
    trace_.tasks.push_back(std::move(group.part));
  }
}

// What a Job's PodGroup knows beyond it.
void Cluster::FinishPodGroups() {
  for (auto& [id, group] : groups_) {
    const auto found = jobs_.find(group.owner_job);
    if (group.owner_job.empty() || found == jobs_.end()) continue;
    Job& job = trace_.jobs[found->second];
    JsonObject extra;
    extra.AddText("pod_group", id);
    extra.AddText("pod_group_phase", group.row.status_raw);
    if (!job.extra.empty()) extra.AddJson("job", job.extra);
    job.extra = extra.text();
    for (Task& task : trace_.tasks) {
      const auto least = group.min_of_task.find(task.task);
      if (task.job_id == job.id && task.gang_min < 0 && least != group.min_of_task.end()) {
        task.gang_min = std::min(least->second, task.replicas);
      }
    }
  }
}

Trace Cluster::Finish() {
  FinishQueues();
  FinishPodGroups();
  FinishPods();
  Manifest& manifest = trace_.manifest;
  manifest.source = volcano_ ? "a Kubernetes cluster with Volcano, from kubectl"
                             : "a Kubernetes cluster, from kubectl";
  manifest.importer = volcano_ ? "volcano 1" : "k8s 1";
  const bool timed = std::ranges::any_of(
      trace_.jobs, [](const Job& job) { return job.submit_us != kUnknownTime; });
  const std::int64_t first = StartAtFirstSubmission(&trace_);
  if (timed) manifest.time_zero = FormatInstant(first);
  manifest.notes = {
      "a snapshot: jobs that had not ended are censored right; run times are known of ended ones "
      "alone",
      "nodes are their allocatable resources; labels are all kept; topology.kubernetes.io/zone and "
      "region became domains",
      "annotations, images, volumes, ports and spread constraints are not kept"};
  if (volcano_) {
    manifest.notes.emplace_back(
        "amounts of queues are as written; minAvailable of a job whose tasks all must run, or that "
        "has one task, became gang_min; retries, plugins and policies of a job are not kept");
  }
  AddKubeNotes(counts_, &manifest.notes);
  const auto note = [&](std::size_t n, std::string_view one, std::string_view many,
                        std::string_view rest) {
    if (n > 0) manifest.notes.push_back(CountOf(n, one, many) + std::string(rest));
  };
  note(loose_minimum_, "job has", "jobs have",
       " a minimum over several tasks together, which no column holds: it stands in extra alone");
  note(orphan_queues_, "queue has", "queues have",
       " a parent that was not given: it stands in extra.parent");
  note(from_groups_, "PodGroup has", "PodGroups have",
       " neither a Job nor pods here: minMember replicas with equal parts of minResources");
  note(lost_pods_, "pod is", "pods are", " of tasks that their job no longer has: left out");
  return std::move(trace_);
}

Trace Parse(const SourceTexts& texts, bool volcano, Diagnostics* diagnostics) {
  Cluster cluster(volcano, diagnostics);
  for (const auto& [option, text] : texts) cluster.Read(text);
  return cluster.Finish();
}

}  // namespace

Trace ParseK8s(const SourceTexts& texts, Diagnostics* diagnostics) {
  return Parse(texts, /*volcano=*/false, diagnostics);
}

Trace ParseVolcano(const SourceTexts& texts, Diagnostics* diagnostics) {
  return Parse(texts, /*volcano=*/true, diagnostics);
}

}  // namespace basalt::trace
