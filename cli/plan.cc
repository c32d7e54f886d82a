// `basalt plan oversubscription`: how much may be sold on a card for a risk that one accepts.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "cli/usage_input.h"
#include "scheduler-core/config/options.h"
#include "sim/demand.h"
#include "sim/oversubscription.h"
#include "traces/usage_names.h"

namespace basalt::cli {
namespace {

using Numbers = std::vector<std::int64_t>;

struct ServiceEntry {
  std::string name, shape;
  Numbers day, week;
  std::int64_t copies = 1, compute_milli = 0, memory_mib = 0, peak_percent = 100,
               memory_peak_percent = 100;
  std::int64_t noise_percent = 0, memory_idle_percent = 100;
  std::string use = "level";
};
struct CardEntry {
  std::int64_t compute_milli = 1000, memory_mib = 0, cards = 1;
};
struct PlanFile {
  std::vector<CardEntry> card;
  std::vector<ServiceEntry> services;
};

void ReadNumbers(const std::string& file, const YAML::Node& node, const config::OptionInfo& option,
                 Numbers* out, config::Errors* errors) {
  if (!config::CheckList(file, node, option, errors)) return;
  for (const YAML::Node& item : node) {
    std::int64_t value = 0;
    if (config::ReadInteger(file, item, option, &value, errors)) out->push_back(value);
  }
}

config::OptionInfo Percent(std::string name, std::string help, std::string fallback, double high) {
  return {.name = std::move(name),
          .help = std::move(help),
          .default_value = std::move(fallback),
          .unit = "percent",
          .low = 0,
          .high = high};
}
config::OptionInfo Amount(std::string name, std::string help, std::string fallback,
                          std::string unit, double low) {
  return {.name = std::move(name),
          .help = std::move(help),
          .default_value = std::move(fallback),
          .unit = std::move(unit),
          .low = low,
          .high = 1e9};
}

const config::OptionTable<ServiceEntry>& ServiceTable() {
  using E = ServiceEntry;
  const auto list = [](Numbers E::* field) {
    return [field](const std::string& file, const YAML::Node& node,
                   const config::OptionInfo& option, E* out, config::Errors* errors) {
      ReadNumbers(file, node, option, &(out->*field), errors);
    };
  };
  static const auto table =
      config::OptionTable<E>()
          .Text({.name = "name", .help = "of the service", .required = true}, &E::name)
          .Text({.name = "shape", .help = "business-day, evening-peak, night-batch or flat"},
                &E::shape)
          .Custom({.name = "day",
                   .help = "24 or 96 values instead of a shape",
                   .type = "list of integers",
                   .unit = "per mille of the peak",
                   .low = 0,
                   .high = 1000},
                  list(&E::day))
          .Custom({.name = "week",
                   .help = "factors, Monday first, instead of the shape's",
                   .type = "list of 7 integers",
                   .unit = "per mille",
                   .low = 0,
                   .high = 1000},
                  list(&E::week))
          .Integer(Amount("copies", "of it in one round of the mix", "1", "", 1), &E::copies)
          .Integer(Amount("compute_milli", "asked of the card", "0", "milli-GPU", 0),
                   &E::compute_milli)
          .Integer(Amount("memory_mib", "asked of the card", "0", "MiB", 0), &E::memory_mib)
          .Integer(
              Percent("peak_percent", "of the asked compute that it uses at the peak", "100", 1000),
              &E::peak_percent)
          .Integer(Percent("memory_peak_percent", "of the asked memory that it uses at the peak",
                           "100", 1000),
                   &E::memory_peak_percent)
          .Integer(Percent("noise_percent", "standard deviation around the curve, of the peak", "0",
                           100),
                   &E::noise_percent)
          .Integer(Percent("memory_idle_percent",
                           "of its peak memory that it holds whatever the load", "100", 100),
                   &E::memory_idle_percent)
          .Text({.name = "use",
                 .help = "level: uses the curve's load; on-off: its peak with that probability, "
                         "else nothing",
                 .default_value = "level"},
                &E::use);
  return table;
}

const config::OptionTable<PlanFile>& PlanTable() {
  static const auto card =
      config::OptionTable<CardEntry>()
          .Integer(Amount("compute_milli", "of a card; 0: not looked at", "1000", "milli-GPU", 0),
                   &CardEntry::compute_milli)
          .Integer(Amount("memory_mib", "of a card; 0: not looked at", "0", "MiB", 0),
                   &CardEntry::memory_mib)
          .Integer(Amount("cards", "taken as one pool", "1", "", 1), &CardEntry::cards);
  static const auto table =
      config::OptionTable<PlanFile>()
          .Custom({.name = "card", .help = "what is oversubscribed", .type = "map"},
                  [](const std::string& file, const YAML::Node& node, const config::OptionInfo&,
                     PlanFile* out, config::Errors* errors) {
                    card.Parse(file, node, &out->card.emplace_back(), errors);
                  })
          .Maps({.name = "services", .help = "the mix", .required = true}, &PlanFile::services,
                ServiceTable());
  return table;
}

struct Plan {
  std::vector<sim::ServiceDemand> services;
  CardEntry card;
};

Result<sim::DemandCurve> CurveOf(const ServiceEntry& entry) {
  if (entry.shape.empty() == entry.day.empty()) {
    return Fail("", "write either a shape or the values of a day");
  }
  sim::DemandCurve curve;
  if (!entry.shape.empty()) {
    auto shape = sim::ShapeByName(entry.shape);
    if (!shape) return shape;
    curve = std::move(*shape);
  }
  for (const std::int64_t v : entry.day) curve.day.push_back(static_cast<std::int32_t>(v));
  if (!entry.week.empty()) {
    if (entry.week.size() != 7) return Fail("", "a week has 7 factors");
    for (std::size_t i = 0; i < 7; ++i) curve.week[i] = static_cast<std::int32_t>(entry.week[i]);
  }
  curve.noise_sd = static_cast<std::int32_t>(entry.noise_percent * 10);
  if (Status ok = sim::ValidateDemand(curve, ""); !ok) return tl::unexpected<Error>(ok.error());
  return curve;
}

Result<Plan> ReadPlan(const std::string& path) {
  const auto document = config::LoadYaml(path);
  if (!document) return tl::unexpected<Error>(document.error());
  PlanFile file;
  config::Errors errors;
  PlanTable().Parse(path, document->root, &file, &errors);
  Plan plan;
  if (!file.card.empty()) plan.card = file.card[0];
  for (std::size_t i = 0; errors.ok() && i < file.services.size(); ++i) {
    const ServiceEntry& entry = file.services[i];
    const YAML::Node at = document->root["services"][i];
    auto curve = CurveOf(entry);
    if (!curve) errors.Add(path, at, curve.error().message);
    if (entry.use != "level" && entry.use != "on-off") {
      errors.Add(path, at["use"], "use is level or on-off, not \"" + entry.use + "\"");
    }
    if (!errors.ok()) break;
    sim::ServiceDemand& s = plan.services.emplace_back();
    s.name = entry.name;
    s.compute_milli = entry.compute_milli;
    s.memory_mib = entry.memory_mib;
    s.curve = std::move(*curve);
    s.peak_milli = static_cast<std::int32_t>(entry.peak_percent * 10);
    s.memory_peak_milli = static_cast<std::int32_t>(entry.memory_peak_percent * 10);
    s.memory_idle_milli = static_cast<std::int32_t>(entry.memory_idle_percent * 10);
    s.on_off = entry.use == "on-off";
    s.copies = entry.copies;
  }
  if (errors.ok() && plan.services.empty()) {
    errors.Add(path, document->root["services"], "name at least one service");
  }
  if (!errors.ok()) return tl::unexpected<Error>(errors.Joined());
  return plan;
}

// A job's use at each time, over all that was measured of it.
Result<Plan> FitPlan(const UsageInput& input, const CardEntry& card) {
  auto in = LoadMeasured(input);
  if (!in) return tl::unexpected<Error>(in.error());
  SayLeftOut(*in);
  std::map<std::string, std::map<std::int64_t, std::int64_t>> use, memory;
  for (const trace::Usage& u : in->trace.usage) {
    if (u.job_id.empty() || u.time_us == trace::kUnknownTime) continue;
    if (u.metric == trace::kGpuUtilPct) use[u.job_id][u.time_us] += u.value_micro;
    if (u.metric == trace::kGpuMemMib) memory[u.job_id][u.time_us] += u.value_micro;
  }
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> asks;  // milli-GPU, MiB
  for (const trace::Task& t : in->trace.tasks) {
    auto& [milli, mib] = asks[t.job_id];
    const std::int64_t cards = std::int64_t{t.replicas} * t.gpu_num;
    milli += cards * t.gpu_milli;
    if (t.gpu_mem_mib > 0) mib += cards * t.gpu_mem_mib;
  }
  Plan plan;
  plan.card = card;
  for (const auto& [job, points] : use) {
    const auto [milli, mib] = asks[job];
    if (milli == 0) continue;
    std::vector<sim::DemandSample> samples;
    for (const auto& [at, value] : points) samples.push_back({{at}, value});
    const auto fit = sim::FitDemand(samples, {});
    if (!fit) {
      std::fprintf(stderr, "%s: not fitted: %s\n", job.c_str(), fit.error().ToString().c_str());
      continue;
    }
    sim::ServiceDemand& s = plan.services.emplace_back();
    s.name = job;
    s.curve = fit->curve;
    s.compute_milli = milli;
    // 1 % of a card is 10 milli-GPU; per mille of the request.
    s.peak_milli = static_cast<std::int32_t>(
        std::min<std::int64_t>(100'000, (fit->peak / 100 + milli - 1) / milli));
    std::int64_t most = 0;
    for (const auto& [at, value] : memory[job]) most = std::max(most, value / 1'000'000);
    s.memory_mib = mib;
    if (most > 0 && mib > 0) {
      // Memory gets no curve: it stays at the largest that was measured.
      s.memory_peak_milli =
          static_cast<std::int32_t>(std::min<std::int64_t>(100'000, (most * 1000 + mib - 1) / mib));
    }
    std::fprintf(stderr, "%s: %zu samples, peak %.0f%% of its request, fit explains %.1f%%\n",
                 job.c_str(), fit->samples, s.peak_milli / 10.0, fit->explained_milli / 10.0);
  }
  if (plan.services.empty()) {
    return Fail(input.directory, "no job with cards has measurements over a day");
  }
  return plan;
}

// Decimal percents, as per million.
Result<std::vector<std::int32_t>> ParseRisks(const std::string& text) {
  std::vector<std::int32_t> out;
  for (const std::string& part : SplitList(text)) {
    double value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size() || !(value >= 0) ||
        !(value <= 100)) {
      return Fail("--risk " + text.substr(0, 80), "write percents as 0.01,0.1,1 (0..100)");
    }
    out.push_back(static_cast<std::int32_t>(std::lround(value * 1e4)));
  }
  return out;
}

struct Options {
  std::string file, phasing = "as-given", risks = "0.01,0.1,1,5";
  UsageInput usage;
  CardEntry card;
  std::int64_t correlation = 0;
  std::uint64_t seed = 42;
  Format format = Format::kTable;
};

void Run(const Options& o, Context* context) {
  if (o.file.empty() == o.usage.directory.empty()) {
    return context->BadInput({"plan oversubscription",
                              "give either a file of services or a trace with measurements "
                              "(--trace, --usage)"});
  }
  const auto risks = ParseRisks(o.risks);
  if (!risks) return context->BadInput(risks.error());
  std::vector<std::pair<std::string, sim::Phasing>> phasings;
  for (const std::string& text : SplitList(o.phasing)) {
    const auto phasing = sim::ParsePhasing(text);
    if (!phasing) return context->BadInput({"--" + phasing.error().where, phasing.error().message});
    phasings.emplace_back(text, *phasing);
  }
  const auto plan = o.file.empty() ? FitPlan(o.usage, o.card) : ReadPlan(o.file);
  if (!plan) return context->BadInput(plan.error());

  report::Table table;
  table.header = {"days",     "risk %",  "services",          "compute %",
                  "memory %", "binding", "overload min/30 d", "one more",
                  "worst at"};
  table.right = {false, true, true, true, true, false, true, true, false};
  nlohmann::json rows = nlohmann::json::array();
  std::int64_t stopped = 0;  // at so many services the search gave up
  constexpr const char* kDays[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
  constexpr const char* kBinding[] = {"none", "compute", "memory"};
  for (const auto& [name, phasing] : phasings) {
    for (const std::int32_t risk : *risks) {
      sim::OversubscriptionOptions options;
      options.compute_milli = plan->card.compute_milli * plan->card.cards;
      options.memory_mib = plan->card.memory_mib * plan->card.cards;
      options.risk_ppm = risk;
      options.correlation = static_cast<std::int32_t>(o.correlation * 10);
      options.phasing = phasing;
      options.seed = o.seed;
      const auto found = sim::PlanOversubscription(plan->services, options);
      if (!found) {
        return context->BadInput(
            {o.file.empty() ? o.usage.directory : o.file, found.error().ToString()});
      }
      const std::string when = found->unlimited
                                   ? "-"
                                   : fmt::format("{} {:02}:{:02}", kDays[found->weekday],
                                                 found->minute / 60, found->minute % 60);
      const std::string binding = kBinding[static_cast<std::size_t>(found->binding)];
      stopped = std::max(stopped, found->unlimited ? options.max_services : 0);
      const auto percent = [](std::int64_t capacity, std::int64_t value) {
        return capacity > 0 ? std::to_string(value) : std::string("n/a");
      };
      table.rows.push_back({name, fmt::format("{}", risk / 1e4), std::to_string(found->services),
                            percent(options.compute_milli, found->compute_percent),
                            percent(options.memory_mib, found->memory_percent),
                            found->unlimited ? "none, search limit" : binding,
                            report::Fixed(found->overload_minutes, 1),
                            report::Fixed(found->next_overload_minutes, 1), when});
      rows.push_back({{"days", name},
                      {"risk_pct", risk / 1e4},
                      {"services", found->services},
                      {"unlimited", found->unlimited},
                      {"compute_pct", found->compute_percent},
                      {"memory_pct", found->memory_percent},
                      {"binding", binding},
                      {"overload_minutes", found->overload_minutes},
                      {"next_overload_minutes", found->next_overload_minutes},
                      {"worst_at", when},
                      {"worst_probability", found->binding_probability}});
    }
  }
  if (stopped > 0) {
    std::fprintf(
        stderr, "the search ends at %lld services: where nothing binds up to there, more may fit\n",
        static_cast<long long>(stopped));
  }
  if (o.format == Format::kJson) return Print(rows);
  Print(table, o.format);
}

}  // namespace

void AddPlan(CLI::App* app, Context* context) {
  app->require_subcommand(1);
  CLI::App* over = app->add_subcommand("oversubscription",
                                       "how much may be sold on a card for an accepted risk");
  auto o = std::make_shared<Options>();
  over->add_option("file", o->file, "services with requests and demand curves (YAML)")
      ->type_name("FILE");
  over->add_option("--trace", o->usage.directory, "or a canonical trace whose jobs were measured")
      ->type_name("DIR");
  over->add_option("--usage", o->usage.files, "with measurements from Prometheus; may be repeated")
      ->type_name("FILE");
  over->add_option("--card-memory", o->card.memory_mib,
                   "with --trace: MiB of a card; 0: not looked at")
      ->check(WholeIn(0, 1'000'000'000))
      ->capture_default_str();
  over->add_option("--cards", o->card.cards, "with --trace: cards taken as one pool")
      ->check(WholeIn(1, 1'000'000))
      ->capture_default_str();
  over->add_option("--risk", o->risks, "accepted shares of time in overload, %")
      ->capture_default_str();
  over->add_option("--phasing", o->phasing,
                   "how the services' days lie: as-given, staggered, independent, all-by-day, or "
                   "0..1 between staggered and all-by-day; several, comma separated")
      ->capture_default_str();
  over->add_option("--correlation", o->correlation,
                   "beyond the curves: the share of time in which all are at one quantile, %")
      ->check(WholeIn(0, 100))
      ->capture_default_str();
  AddSeed(over, "--seed", &o->seed, "of independent days");
  AddFormat(over, &o->format);
  over->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
