// `basalt snapshot`: engine states as files: make one, look at one, recover one from a journal, and
// decide a journal again.
#include <fmt/format.h>

#include "cli/states.h"
#include "scheduler-core/engine/journal.h"

namespace basalt::cli {
namespace {

constexpr std::size_t kMaxStateBytes = std::size_t{4} << 30;

// A snapshot restored to be looked at: its own allocations are the typical requests, so that
// fragmentation means something without the trace.
Result<std::unique_ptr<Engine>> Load(const std::string& path, const Registry& registry,
                                     const std::string& expression) {
  const auto bytes = ReadFile(path, kMaxStateBytes);
  if (!bytes) return tl::unexpected<Error>(bytes.error());
  const auto contents = DecodeSnapshot(*bytes);
  if (!contents) return Fail(path, contents.error().message);
  std::vector<TargetWorkload::Counted> counted;
  for (const SnapshotAllocation& a : contents->allocations) {
    if (a.shape < contents->shapes.size()) counted.push_back({contents->shapes[a.shape], 1});
  }
  EngineOptions options;
  options.target = TargetWorkload(counted);
  auto policy = registry.Configure(expression);
  if (!policy) return Fail("--policy", policy.error().ToString());
  auto engine = Engine::Restore(*bytes, *policy, std::move(options));
  if (!engine) return Fail(path, engine.error().ToString());
  return engine;
}

void Show(Engine& engine, Format format) {
  const ClusterTotals& t = engine.state().totals();
  const Fragmentation* frag = engine.fragmentation();
  const double stranded = frag == nullptr ? 0
                                          : static_cast<double>(frag->total().fragment()) /
                                                static_cast<double>(frag->weight()) / 1000;
  const double gpus = static_cast<double>(t.gpu_capacity) / 1000;
  const double used = static_cast<double>(t.gpu_capacity - t.gpu_free) / 1000;
  if (format == Format::kJson) {
    Print(nlohmann::json{{"nodes", t.nodes},
                         {"cards", t.cards},
                         {"allocations", engine.allocation_count()},
                         {"gpus_allocated", used},
                         {"gpus_stranded", frag ? nlohmann::json(stranded) : nlohmann::json()},
                         {"idle_cards", t.idle_cards},
                         {"idle_nodes", t.idle_nodes},
                         {"state_digest", engine.StateDigest().ToHex()}});
    return;
  }
  report::Table table;
  table.header = {"what", "value"};
  table.rows = {{"nodes", std::to_string(t.nodes)},
                {"cards", std::to_string(t.cards)},
                {"allocations", std::to_string(engine.allocation_count())},
                {"GPUs allocated", fmt::format("{:.1f} of {:.1f}", used, gpus)},
                {"GPUs stranded", frag ? report::Fixed(stranded, 1) : "n/a"},
                {"whole cards idle", std::to_string(t.idle_cards)},
                {"nodes idle", std::to_string(t.idle_nodes)},
                {"state digest", engine.StateDigest().ToHex()}};
  Print(table, format);
}

}  // namespace

void AddStateInput(CLI::App* app, StateInput* input, bool with_snapshot) {
  AddTraceInput(app, &input->trace);
  if (with_snapshot) {
    app->add_option("--snapshot", input->snapshot, "an engine state (basalt snapshot make)")
        ->type_name("FILE");
  }
  app->add_option("--policy", input->policy, "")->capture_default_str();
  AddSeed(app, "--seed", &input->seed, "of the arrival order");
  app->add_option("--at", input->at_percent, "fill until so much GPU demand has arrived, %")
      ->check(WholeIn(1, 1000))
      ->capture_default_str();
}

Status WithEngine(const StateInput& input, const Registry& registry, JournalSink* journal,
                  const std::function<void(Engine&)>& use) {
  if (!input.snapshot.empty()) {
    const TraceInput& t = input.trace;
    if (!t.nodes.empty() || !t.pods.empty() || !t.traces.empty() || t.generate) {
      return Fail("--snapshot", "holds the state already; leave the trace away, or the snapshot");
    }
    auto engine = Load(input.snapshot, registry, input.policy);
    if (!engine) return tl::unexpected<Error>(engine.error());
    use(**engine);
    return {};
  }
  const auto policies = ParsePolicies(registry, input.policy);
  if (!policies) return tl::unexpected<Error>(policies.error());
  if (policies->size() != 1) return Fail("--policy", "name one policy");
  const auto workloads = LoadWorkloads(input.trace);
  if (!workloads) return tl::unexpected<Error>(workloads.error());
  const sim::Workload& workload = workloads->front();
  sim::RunOptions run;
  run.explain_failures = false;
  run.stop_at_percent = input.at_percent;
  run.inspect = use;
  run.journal = journal;
  const sim::Order order =
      sim::MakeSaturationOrder(workload, input.seed, std::max(130, input.at_percent));
  const auto result = sim::RunSaturation(workload, policies->front(), input.seed, order, run);
  if (!result) return tl::unexpected<Error>(result.error());
  return {};
}

void AddSnapshot(CLI::App* app, Context* context) {
  app->require_subcommand(1);

  struct Make {
    StateInput state;
    std::string out;
    std::string journal;
    Format format = Format::kTable;
  };
  CLI::App* make = app->add_subcommand("make", "fill a cluster and save its state");
  auto m = std::make_shared<Make>();
  AddStateInput(make, &m->state, false);
  make->add_option("--out", m->out, "snapshot to write")->required()->type_name("FILE");
  make->add_option("--journal", m->journal, "also write the journal that led there")
      ->type_name("FILE");
  AddFormat(make, &m->format);
  make->callback([m, context] {
    for (const std::string& path : {m->out, m->journal}) {
      if (path.empty()) continue;
      if (Status ok = CheckWritable(path); !ok) return context->BadInput(ok.error());
    }
    JournalBuffer journal;
    Status written;
    const Status ok = WithEngine(m->state, context->registry,
                                 m->journal.empty() ? nullptr : &journal, [&](Engine& engine) {
                                   written = WriteFile(m->out, engine.Snapshot());
                                   if (written) Show(engine, m->format);
                                 });
    if (!ok) return context->BadInput(ok.error());
    if (written && !m->journal.empty()) written = WriteFile(m->journal, journal.bytes());
    if (!written) context->BadInput(written.error());
  });

  struct Look {
    std::string file;
    std::string policy;
    std::string out;
    Format format = Format::kTable;
  };
  CLI::App* show = app->add_subcommand("show", "what a snapshot holds");
  auto s = std::make_shared<Look>();
  show->add_option("file", s->file, "")->required()->type_name("FILE");
  AddFormat(show, &s->format);
  show->callback([s, context] {
    auto engine = Load(s->file, context->registry, "binpack");
    if (!engine) return context->BadInput(engine.error());
    if (Status ok = (*engine)->Audit(); !ok) return context->BadInput(ok.error());
    Show(**engine, s->format);
  });

  CLI::App* recover = app->add_subcommand("recover", "the state a journal leads to, as a snapshot");
  auto r = std::make_shared<Look>();
  recover->add_option("journal", r->file, "")->required()->type_name("FILE");
  recover->add_option("--out", r->out, "snapshot to write")->type_name("FILE");
  AddFormat(recover, &r->format);
  recover->callback([r, context] {
    const auto bytes = ReadFile(r->file, kMaxStateBytes);
    if (!bytes) return context->BadInput(bytes.error());
    const auto journal = ReadJournal(*bytes);
    if (!journal) return context->BadInput(Error{r->file, journal.error().message});
    auto engine = Engine::Create(*context->registry.Configure("binpack"), EngineOptions{});
    for (const JournalRecord& record : journal->records) {
      if (Status ok = (*engine)->ApplyRecord(record); !ok) {
        return context->BadInput(Error{r->file, ok.error().ToString()});
      }
    }
    if (!journal->tail_problem.empty()) {
      std::fprintf(stderr, "%s: %s\n", r->file.c_str(), journal->tail_problem.c_str());
    }
    if (!r->out.empty()) {
      if (Status ok = WriteFile(r->out, (*engine)->Snapshot()); !ok) {
        return context->BadInput(ok.error());
      }
    }
    Show(**engine, r->format);
  });

  CLI::App* replay = app->add_subcommand("replay", "decide a journal again and compare");
  auto p = std::make_shared<Look>();
  replay->add_option("journal", p->file, "")->required()->type_name("FILE");
  replay->add_option("--policy", p->policy, "another policy than the recorded one (what-if)");
  AddFormat(replay, &p->format);
  replay->callback([p, context] {
    const auto bytes = ReadFile(p->file, kMaxStateBytes);
    if (!bytes) return context->BadInput(bytes.error());
    const auto journal = ReadJournal(*bytes);
    if (!journal) return context->BadInput(Error{p->file, journal.error().message});
    const auto again = sim::ReplayJournal(*journal, context->registry, p->policy);
    if (!again) {
      const bool option = !p->policy.empty() && !context->registry.Configure(p->policy);
      return context->BadInput(Error{option ? "--policy" : p->file, again.error().ToString()});
    }
    if (!journal->tail_problem.empty()) {
      std::fprintf(stderr, "%s: %s\n", p->file.c_str(), journal->tail_problem.c_str());
    }
    if (p->format == Format::kJson) {
      Print(nlohmann::json{{"decisions", again->decisions},
                           {"different", again->different},
                           {"first_difference", again->first_difference},
                           {"tail", journal->tail_problem},
                           {"state_digest", again->state_digest.ToHex()}});
    } else {
      report::Table table;
      table.header = {"decisions", "different", "first difference", "state digest"};
      table.rows = {{std::to_string(again->decisions), std::to_string(again->different),
                     again->first_difference.empty() ? "-" : again->first_difference,
                     again->state_digest.ToHex()}};
      Print(table, p->format);
    }
    if (again->different > 0 && p->policy.empty()) context->exit_code = kNondeterminism;
  });
}

}  // namespace basalt::cli
