#include "sim/shadow_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "sim/recorded_day.h"

namespace basalt::sim {
namespace {

class Onlooker {
 public:
  Onlooker(const Registry& registry, std::string policy, ShadowReport* out)
      : registry_(registry), policy_(std::move(policy)), out_(*out) {}

  Status Read(const RecordedSegment& segment) {
    const auto& records = segment.journal.records;
    if (records.empty()) return {};
    const auto* head = std::get_if<PolicyRecord>(&records.front().body);
    const std::string where = fmt::format("journal-{}", segment.generation);
    if (head == nullptr) return Fail(where, "does not begin with its policy");
    if (Status ok = Begin(segment, *head); !ok) return ok;
    shapes_.clear();
    asked_.clear();
    std::size_t next = 0;
    for (std::size_t i = 0; i <= records.size(); ++i) {
      for (; next < segment.decisions.size() && segment.decisions[next].after <= i; ++next) {
        if (Status ok = Entry(segment.decisions[next]); !ok) {
          return Fail(fmt::format("decisions-{}", segment.generation), ok.error().message);
        }
      }
      if (i == records.size()) break;
      Note(records[i].now);
      if (Status ok = Record(records[i], i); !ok) {
        return Fail(fmt::format("{}: record {}", where, i), ok.error().ToString());
      }
    }
    return {};
  }

  void Finish() {
    if (engine_ == nullptr) return;
    out_.waiting = out_.book.WaitingNow(*engine_, out_.end);
    out_.measured = engine_->fragmentation() != nullptr;
    if (out_.measured) out_.target_classes = engine_->fragmentation()->target().classes().size();
    out_.nodes = engine_->state().totals().nodes;
    out_.cards = engine_->state().totals().cards;
  }

 private:
  void Note(SimTime now) {
    if (now.us == 0) return;
    if (out_.begin.us == 0) out_.begin = now;
    out_.end = std::max(out_.end, now);
  }

  Status Begin(const RecordedSegment& segment, const PolicyRecord& head) {
    Result<EngineOptions> options = OptionsOf(head);
    if (!options) return tl::unexpected<Error>(options.error());
    auto policy = registry_.Configure(policy_.empty() ? head.expression : policy_);
    if (!policy) return tl::unexpected<Error>(policy.error());
    // A policy that needs a target has none before the shadow has found one: it begins as binpack.
    if (options->target.empty() && policy->policy->traits().needs_target_workload) {
      policy = registry_.Configure("binpack");
    }
    auto engine = Engine::Restore(segment.snapshot, std::move(*policy), std::move(*options));
    if (!engine) {
      return Fail(fmt::format("snapshot-{}", segment.generation), engine.error().ToString());
    }
    if (engine_ != nullptr) out_.book.Move(*engine_, engine->get());
    if (out_.policy.empty()) out_.policy = policy_.empty() ? head.expression : policy_;
    engine_ = std::move(*engine);
    return {};
  }

  Status Entry(const DecisionEntry& entry) {
    Note(entry.now);
    if (const auto* shape = std::get_if<RecordedShape>(&entry.body)) {
      const auto id = engine_->InternShape(shape->spec);
      if (!id) return tl::unexpected<Error>(id.error());
      shapes_.push_back(*id);
    } else if (const auto* d = std::get_if<RecordedDecision>(&entry.body)) {
      asked_[d->ask.uid] = entry.after;
    } else if (const auto* seen = std::get_if<RecordedSeen>(&entry.body)) {
      if (seen->ask.shape >= shapes_.size()) return Fail("", "an unknown shape");
      const RecordedAsk& ask = seen->ask;
      out_.book.Waits(
          Request{ask.uid, ask.attempt, shapes_[ask.shape], ask.job, ask.standing, nullptr},
          entry.now);
    } else if (const auto* gone = std::get_if<RecordedGone>(&entry.body)) {
      out_.book.Gone(gone->uid);
    }
    return {};
  }

  Status Record(const JournalRecord& record, std::size_t number) {
    if (const auto* changed = std::get_if<PolicyRecord>(&record.body);
        changed != nullptr && number > 0) {
      auto policy = registry_.Configure(policy_.empty() ? changed->expression : policy_);
      if (!policy) return tl::unexpected<Error>(policy.error());
      Result<EngineOptions> options = OptionsOf(*changed);
      if (!options) return tl::unexpected<Error>(options.error());
      if (Status ok =
              engine_->SetPolicy(std::move(*policy), std::move(options->target), record.now);
          !ok) {
        return ok;
      }
    }
    if (const auto* event = std::get_if<EventRecord>(&record.body)) {
      if (const auto* pod = std::get_if<PodObserved>(&event->event)) {
        Bound(*pod, record.now, number);
      }
    }
    return engine_->ApplyRecord(record);
  }

  // The shadow asked itself just before it recorded the binding.
  void Bound(const PodObserved& pod, SimTime now, std::size_t number) {
    if (engine_->Find(pod.uid) != nullptr) return;
    const auto asked = asked_.find(pod.uid);
    const bool judged = asked != asked_.end() && asked->second == number;
    const auto shape = judged ? engine_->InternShape(pod.spec) : Fail("", "");
    if (!shape) {
      ++out_.there_before;
      out_.book.Gone(pod.uid);
      return;
    }
    const Request request{pod.uid, pod.attempt, *shape, pod.job, pod.standing, nullptr};
    const Outcome ours = engine_->Propose(request, now);
    out_.book.Bound(JudgeBinding(*engine_, request, ours, pod, now));
  }

  const Registry& registry_;
  std::string policy_;
  ShadowReport& out_;
  std::unique_ptr<Engine> engine_;
  std::vector<ShapeId> shapes_;
  std::map<PodUid, std::uint64_t> asked_;  // after so many records, last
};

std::string TextOf(const std::vector<std::string>& models) {
  std::string text;
  for (const std::string& model : models) text += (text.empty() ? "" : "|") + model;
  return text;
}

}  // namespace

Result<ShadowReport> ReportShadow(const SegmentSource& source, const Registry& registry,
                                  const std::string& policy) {
  ShadowReport out;
  Onlooker onlooker(registry, policy, &out);
  for (std::size_t s = 0; s < source.segments; ++s) {
    const Result<RecordedSegment> segment = source.read(s);
    if (!segment) return tl::unexpected<Error>(segment.error());
    if (Status ok = onlooker.Read(*segment); !ok) return tl::unexpected<Error>(ok.error());
  }
  onlooker.Finish();
  if (out.book.totals().bound == 0 && out.book.waiting() == 0) {
    return Fail("the recording",
                "holds no binding that a shadow judged; record with mode: shadow and record_mib");
  }
  return out;
}

Result<trace::Trace> TraceOfRecording(const SegmentSource& source) {
  const Result<RecordedDay> day = ReadDay(source);
  if (!day) return tl::unexpected<Error>(day.error());
  trace::Trace out;
  out.manifest.source = "basalt recording";
  out.manifest.licence = "unknown: data of the cluster's owner";
  out.manifest.importer = "basalt shadow trace";
  out.manifest.notes = {
      "a job is a pod and its id the pod's UID; pods of a gang that was asked for are one job",
      "nodes are as described last; those that were removed are there, too",
      "pods that were on a node when the recording began are submitted at its begin",
      "a request for card memory alone has compute 1; node selectors, tolerations, vendors, MIG "
      "profiles, NUMA and bandwidth wishes are lost, and a node's cards are of the first's model"};
  std::map<std::string, NodeSpec> nodes;
  const auto describe = [&nodes](const NodeSpec& spec) { nodes[spec.name] = spec; };
  const Result<SnapshotContents> begin = DecodeSnapshot(day->snapshot);
  if (!begin) return tl::unexpected<Error>(begin.error());
  for (const SnapshotNode& node : begin->nodes) describe(node.spec);
  for (const DayEvent& event : day->events) {
    if (const auto* added = std::get_if<NodeAdded>(&event.event)) describe(added->spec);
    if (const auto* changed = std::get_if<NodeChanged>(&event.event)) describe(changed->spec);
  }
  for (const auto& [name, spec] : nodes) {
    trace::Node node;
    node.id = name;
    node.rank = spec.rank;
    node.cpu_milli = spec.cpu_milli;
    node.memory_mib = spec.memory_mib;
    node.gpu_count = static_cast<std::int32_t>(spec.cards.size());
    if (!spec.cards.empty()) {
      node.model = spec.cards.front().model;
      node.gpu_milli = spec.cards.front().compute_milli;
      node.gpu_mem_mib = spec.cards.front().memory_mib > 0 ? spec.cards.front().memory_mib : -1;
    }
    out.nodes.push_back(std::move(node));
  }
  // What was there before the beginning began with it.
  const auto since = [&](std::int64_t at_us) {
    return std::max<std::int64_t>(0, at_us - day->begin.us);
  };
  const auto add_job = [&](const std::string& id, const DayPod& first, std::int64_t arrived,
                           std::int64_t end) {
    trace::Job job;
    job.id = id;
    job.queue = first.standing.queue;
    job.preemptible = first.standing.preemptible ? 1 : 0;
    job.submit_us = since(arrived);
    if (first.held_us >= 0) job.start_us = since(first.held_us);
    if (end >= 0 && first.held_us >= 0) job.end_us = since(end);
    out.jobs.push_back(std::move(job));
  };
  const auto add_task = [&](const std::string& id, const std::string& name, std::int32_t replicas,
                            std::int32_t gang_min, const RequestSpec& spec) {
    trace::Task task;
    task.job_id = id;
    task.task = name;
    task.replicas = replicas;
    task.gang_min = gang_min;
    task.gpu_num = spec.gpus;
    // Where cards are asked for by memory alone, compute is as small as the format has it.
    task.gpu_milli = spec.gpus > 0 ? std::max<MilliGpu>(1, spec.gpu_milli) : 0;
    if (spec.gpus > 0 && spec.gpu_memory_mib > 0) task.gpu_mem_mib = spec.gpu_memory_mib;
    task.gpu_spec = TextOf(spec.models);
    task.cpu_milli = spec.cpu_milli;
    task.memory_mib = spec.memory_mib;
    out.tasks.push_back(std::move(task));
  };
  const auto add_place = [&](const std::string& id, const std::string& task, std::int32_t replica,
                             const DayPod& pod) {
    if (pod.held_us < 0) return;
    trace::Placement place;
    place.job_id = id;
    place.task = task;
    place.replica = replica;
    place.node_id = pod.node;
    place.start_us = since(pod.held_us);
    if (pod.ended_us >= 0) place.end_us = since(pod.ended_us);
    out.placements.push_back(std::move(place));
  };
  for (const auto* pods : {&day->pods, &day->foreign}) {
    for (const DayPod& pod : *pods) {
      if (pod.gang >= 0) continue;
      const std::string id = UidText(pod.uid);
      add_job(id, pod, pod.arrived_us, pod.ended_us);
      add_task(id, "pod", 1, -1, pod.spec);
      add_place(id, "pod", 0, pod);
    }
  }
  for (const DayGang& gang : day->gangs) {
    const std::string id = UidText(gang.spec.uid);
    std::int64_t end = -1;
    for (const std::size_t p : gang.pods) end = std::max(end, day->pods[p].ended_us);
    add_job(id, day->pods[gang.pods.front()], gang.arrived_us, end);
    std::size_t member = 0;
    for (std::size_t t = 0; t < gang.spec.spec.tasks.size(); ++t) {
      const GangTask& task = gang.spec.spec.tasks[t];
      const std::string name = fmt::format("task{}", t);
      add_task(id, name, task.max, task.min, gang.specs[t]);
      for (std::int32_t r = 0; r < task.max; ++r) {
        add_place(id, name, r, day->pods[gang.pods[member++]]);
      }
    }
  }
  return out;
}

}  // namespace basalt::sim
