// `basalt shadow`: what a server in shadow mode recorded beside another scheduler, judged, or as a
// trace to simulate with.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>

#include "cli/recordings.h"
#include "sim/shadow_report.h"
#include "traces/canonical.h"

namespace basalt::cli {
namespace {

struct ShadowInput {
  RecordingInput recording;
  std::string policy;
  std::string out;
  bool overwrite = false;
  int top = 10;
  Format format = Format::kTable;
};

double Gpus(std::int64_t milli) { return static_cast<double>(milli) / 1000; }

nlohmann::json JsonOf(const ShadowChoice& choice, bool measured) {
  if (choice.node.empty()) return nullptr;
  nlohmann::json causes;
  for (std::size_t c = 0; measured && c < kStrandCauses; ++c) {
    if (choice.added_milli[c] == 0) continue;
    causes[std::string(StrandCauseKey(static_cast<StrandCause>(c)))] = choice.added_milli[c];
  }
  return {{"node", choice.node},
          {"cards", choice.cards.bits()},
          {"fits", choice.fits},
          {"score", choice.fits ? nlohmann::json(choice.score) : nlohmann::json()},
          {"why_not", choice.fits ? "" : std::string(ReasonKey(choice.reason))},
          {"added_milli", choice.added()},
          {"added_by_cause", std::move(causes)},
          {"idle_cards_begun", choice.idle_cards}};
}

void PrintJson(const sim::ShadowReport& r, int top) {
  const ShadowBook::Totals& t = r.book.totals();
  nlohmann::json causes, shapes = nlohmann::json::array(), worst = nlohmann::json::array();
  for (std::size_t c = 0; c < kStrandCauses; ++c) {
    causes[std::string(StrandCauseKey(static_cast<StrandCause>(c)))] = Gpus(t.by_cause_milli[c]);
  }
  for (const auto& [shape, s] : r.book.by_shape()) {
    shapes.push_back({{"shape", shape},
                      {"bound", s.bound},
                      {"same_node", s.same_node},
                      {"stranded_gpus", Gpus(s.stranded_milli)}});
  }
  for (const ShadowVerdict& v : r.book.worst()) {
    if (std::cmp_greater_equal(worst.size(), top)) break;
    worst.push_back({{"pod", UidText(v.uid)},
                     {"at_us", v.at.us},
                     {"shape", v.shape},
                     {"waited_s", static_cast<double>(v.waited_us) / 1e6},
                     {"stranded_milli", v.stranded_milli()},
                     {"live", JsonOf(v.live, v.measured)},
                     {"ours", JsonOf(v.ours, v.measured)}});
  }
  Print(nlohmann::json{{"policy", r.policy},
                       {"seconds", static_cast<double>(r.end.us - r.begin.us) / 1e6},
                       {"nodes", r.nodes},
                       {"cards", r.cards},
                       {"there_before", r.there_before},
                       {"target_classes", r.target_classes},
                       {"measured", r.measured},
                       {"bound", t.bound},
                       {"same_node", t.same_node},
                       {"same_cards", t.same_cards},
                       {"not_ours", t.not_ours},
                       {"overbooked", t.overbooked},
                       {"worse", t.worse},
                       {"better", t.better},
                       {"idle_cards_begun", t.idle_cards_more},
                       {"stranded_gpus", Gpus(t.stranded_milli)},
                       {"stranded_by_cause", std::move(causes)},
                       {"by_shape", std::move(shapes)},
                       {"worst", std::move(worst)},
                       {"waiting",
                        {{"pods", r.waiting.pods},
                         {"pods_that_fit", r.waiting.pods_that_fit},
                         {"gangs", r.waiting.gangs},
                         {"gangs_that_fit", r.waiting.gangs_that_fit},
                         {"idle_cards", r.waiting.idle_cards},
                         {"longest_s", static_cast<double>(r.waiting.longest_us) / 1e6}}}});
}

void PrintTables(const sim::ShadowReport& r, int top, Format format) {
  const ShadowBook::Totals& t = r.book.totals();
  const auto gpus = [&](std::int64_t milli) {
    return r.measured ? report::Fixed(Gpus(milli), 2) : std::string("n/a");
  };
  report::Table totals;
  totals.header = {"what", "value"};
  totals.rows = {
      {"policy", r.policy},
      {"time", fmt::format("{:.1f} s", static_cast<double>(r.end.us - r.begin.us) / 1e6)},
      {"nodes, cards", fmt::format("{}, {}", r.nodes, r.cards)},
      {"pods there before", std::to_string(r.there_before)},
      {"pods bound by the live scheduler", std::to_string(t.bound)},
      {"  on the node of our choice", std::to_string(t.same_node)},
      {"  on the cards of our choice", std::to_string(t.same_cards)},
      {"  that we would have let wait", std::to_string(t.not_ours)},
      {"  that did not fit there", std::to_string(t.overbooked)},
      {"choices worse, better than ours", fmt::format("{}, {}", t.worse, t.better)},
      {"idle cards begun beyond ours", std::to_string(t.idle_cards_more)},
      {"GPUs stranded beyond ours", gpus(t.stranded_milli)}};
  for (std::size_t c = 0; r.measured && c < kStrandCauses; ++c) {
    if (t.by_cause_milli[c] == 0) continue;
    totals.rows.push_back({"  " + std::string(StrandCauseLabel(static_cast<StrandCause>(c))),
                           gpus(t.by_cause_milli[c])});
  }
  totals.rows.push_back({"pods that wait, with a place for them",
                         fmt::format("{}, {}", r.waiting.pods, r.waiting.pods_that_fit)});
  totals.rows.push_back({"gangs that wait, with places for all",
                         fmt::format("{}, {}", r.waiting.gangs, r.waiting.gangs_that_fit)});
  totals.rows.push_back({"idle cards beside them", std::to_string(r.waiting.idle_cards)});
  Print(totals, format);
  report::Table shapes;
  shapes.header = {"shape", "bound", "same node", "GPUs stranded"};
  for (const auto& [shape, s] : r.book.by_shape()) {
    shapes.rows.push_back(
        {shape, std::to_string(s.bound), std::to_string(s.same_node), gpus(s.stranded_milli)});
  }
  std::printf("\n");
  Print(shapes, format);
  if (r.book.worst().empty()) return;
  report::Table worst;
  worst.header = {"pod",        "at s",     "shape",     "live node",
                  "live score", "our node", "our score", "GPUs stranded"};
  for (const ShadowVerdict& v : r.book.worst()) {
    if (std::cmp_greater_equal(worst.rows.size(), top)) break;
    worst.rows.push_back(
        {UidText(v.uid), report::Fixed(static_cast<double>(v.at.us - r.begin.us) / 1e6, 1), v.shape,
         v.live.node, v.live.fits ? std::to_string(v.live.score) : "does not fit", v.ours.node,
         std::to_string(v.ours.score), gpus(v.stranded_milli())});
  }
  std::printf("\n");
  Print(worst, format);
}

}  // namespace

void AddShadow(CLI::App* app, Context* context) {
  app->require_subcommand(1);
  CLI::App* report = app->add_subcommand("report", "the live scheduler's choices against ours");
  auto r = std::make_shared<ShadowInput>();
  AddRecordingInput(report, &r->recording);
  report->add_option("--policy", r->policy, "ours, instead of the recorded one")
      ->type_name("POLICY");
  report->add_option("--top", r->top, "worst choices to list, at most 20")
      ->check(WholeIn(0, static_cast<std::int64_t>(ShadowBook::kWorst)))
      ->capture_default_str();
  AddFormat(report, &r->format);
  report->callback([r, context] {
    if (!r->policy.empty()) {
      const auto policy = context->registry.Configure(r->policy);
      if (!policy) return context->BadInput(Error{"--policy", policy.error().ToString()});
    }
    WithRecording(r->recording, context, [&](const sim::SegmentSource& source) -> Status {
      const auto judged = sim::ReportShadow(source, context->registry, r->policy);
      if (!judged) return tl::unexpected<Error>(judged.error());
      if (r->format == Format::kJson) {
        PrintJson(*judged, r->top);
      } else {
        PrintTables(*judged, r->top, r->format);
      }
      return {};
    });
  });

  CLI::App* trace = app->add_subcommand("trace", "what was seen, as a canonical trace");
  auto t = std::make_shared<ShadowInput>();
  AddRecordingInput(trace, &t->recording);
  trace->add_option("--out", t->out, "directory of the trace")->required()->type_name("DIR");
  trace->add_flag("--overwrite", t->overwrite, "replace a trace that is there");
  trace->callback([t, context] {
    WithRecording(t->recording, context, [&](const sim::SegmentSource& source) -> Status {
      const auto made = sim::TraceOfRecording(source);
      if (!made) return tl::unexpected<Error>(made.error());
      if (Status ok = trace::WriteTrace(*made, t->out, {t->overwrite}); !ok) return ok;
      std::fprintf(stderr, "%s: %zu nodes, %zu jobs, %zu placements\n", t->out.c_str(),
                   made->nodes.size(), made->jobs.size(), made->placements.size());
      return {};
    });
  });
}

}  // namespace basalt::cli
