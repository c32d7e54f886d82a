// `basalt report usage`: what was allocated against what was used.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "cli/usage_input.h"
#include "sim/usage.h"
#include "traces/canonical.h"
#include "traces/usage_names.h"

namespace basalt::cli {
namespace {

using report::Fixed;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct Options {
  UsageInput input;
  std::string by = "tenant";
  double from_s = kNone, to_s = kNone, idle_hours = 6, hold_s = 0;
  std::int64_t idle_below = 5;
  std::size_t top = 10;
  std::string metric = std::string(trace::kGpuUtilPct);
  Format format = Format::kTable;
};

double Percent(double part, double of) { return of > 0 ? 100 * part / of : kNone; }
nlohmann::json Number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

nlohmann::json Json(const sim::UsageTotals& t) {
  return {{"jobs", t.jobs},
          {"allocated_gpu_hours", t.allocated_hours},
          {"measured_gpu_hours", t.measured_hours},
          {"used_gpu_hours", t.used_hours},
          {"wasted_gpu_hours", t.wasted_hours},
          {"used_pct", Number(Percent(t.used_hours, t.measured_hours))},
          {"measured_pct", Number(Percent(t.measured_hours, t.allocated_hours))},
          {"memory_allocated_gib_hours", t.memory_allocated},
          {"memory_measured_gib_hours", t.memory_measured},
          {"memory_used_gib_hours", t.memory_used},
          {"idle_jobs", t.idle_jobs},
          {"idle_gpu_hours", t.idle_hours}};
}

const std::vector<std::string> kTotalsHeader = {
    "jobs",         "GPU-h allocated", "measured %", "GPU-h used", "used %",
    "GPU-h wasted", "mem GiB-h",       "mem used %", "idle jobs",  "idle GPU-h"};
std::vector<std::string> Cells(const sim::UsageTotals& t) {
  return {std::to_string(t.jobs),
          Fixed(t.allocated_hours, 1),
          Fixed(Percent(t.measured_hours, t.allocated_hours), 1),
          Fixed(t.used_hours, 1),
          Fixed(Percent(t.used_hours, t.measured_hours), 1),
          Fixed(t.wasted_hours, 1),
          Fixed(t.memory_allocated, 1),
          Fixed(Percent(t.memory_used, t.memory_measured), 1),
          std::to_string(t.idle_jobs),
          Fixed(t.idle_hours, 1)};
}

report::Table Totals(const std::string& what, const std::map<std::string, sim::UsageTotals>& of,
                     const sim::UsageTotals& total) {
  report::Table table;
  table.header = {what};
  table.header.insert(table.header.end(), kTotalsHeader.begin(), kTotalsHeader.end());
  table.right.assign(table.header.size(), true);
  table.right[0] = false;
  const auto row = [&](const std::string& name, const sim::UsageTotals& t) {
    std::vector<std::string> cells = Cells(t);
    cells.insert(cells.begin(), name);
    table.rows.push_back(std::move(cells));
  };
  for (const auto& [name, t] : of) row(name, t);
  row("total", total);
  return table;
}

// Those that wasted most; equal ones in the trace's order.
std::vector<const sim::JobUsage*> Wasters(const sim::UsageReport& report, std::size_t top) {
  std::vector<const sim::JobUsage*> jobs;
  for (const sim::JobUsage& job : report.jobs) jobs.push_back(&job);
  std::ranges::stable_sort(jobs, std::greater<>(), [](const sim::JobUsage* j) {
    return std::pair(j->totals.wasted_hours, j->totals.allocated_hours);
  });
  if (top > 0 && jobs.size() > top) jobs.resize(top);
  return jobs;
}

report::Table JobTable(const std::vector<const sim::JobUsage*>& jobs, const trace::Trace& trace) {
  report::Table table;
  table.header = {"job",    "tenant",       "sku",        "GPU-h allocated", "measured %",
                  "used %", "GPU-h wasted", "mem used %", "longest idle h",  "idle GPU-h"};
  table.right = {false, false, false, true, true, true, true, true, true, true};
  for (const sim::JobUsage* j : jobs) {
    const sim::UsageTotals& t = j->totals;
    table.rows.push_back({trace.jobs[j->job].id, j->tenant, j->sku, Fixed(t.allocated_hours, 1),
                          Fixed(Percent(t.measured_hours, t.allocated_hours), 1),
                          Fixed(Percent(t.used_hours, t.measured_hours), 1),
                          Fixed(t.wasted_hours, 1),
                          Fixed(Percent(t.memory_used, t.memory_measured), 1),
                          Fixed(j->longest_idle_hours, 1), Fixed(t.idle_hours, 1)});
  }
  return table;
}

report::Table CardTable(const std::vector<sim::CardUsage>& cards) {
  report::Table table;
  table.header = {"node", "card", "model", "allocated %", "measured %", "used %", "mean mem MiB"};
  table.right = {false, false, false, true, true, true, true};
  for (const sim::CardUsage& c : cards) {
    table.rows.push_back({c.node, c.card, c.model,
                          Fixed(Percent(c.allocated_hours, c.window_hours), 1),
                          Fixed(Percent(c.measured_hours, c.window_hours), 1),
                          Fixed(Percent(c.used_hours, c.measured_hours), 1),
                          Fixed(c.memory_mean_mib < 0 ? kNone : c.memory_mean_mib, 0)});
  }
  return table;
}

nlohmann::json JsonOf(const sim::UsageReport& report, const MeasuredTrace& in, std::size_t top) {
  const auto groups = [](const std::map<std::string, sim::UsageTotals>& of) {
    nlohmann::json out = nlohmann::json::object();
    for (const auto& [name, t] : of) out[name] = Json(t);
    return out;
  };
  nlohmann::json jobs = nlohmann::json::array();
  for (const sim::JobUsage* j : Wasters(report, top)) {
    nlohmann::json job = Json(j->totals);
    job.erase("jobs");
    job["job"] = in.trace.jobs[j->job].id;
    job["tenant"] = j->tenant;
    job["department"] = j->department;
    job["sku"] = j->sku;
    job["longest_idle_hours"] = j->longest_idle_hours;
    jobs.push_back(std::move(job));
  }
  nlohmann::json cards = nlohmann::json::array();
  for (const sim::CardUsage& c : report.cards) {
    cards.push_back(
        {{"node", c.node},
         {"card", c.card},
         {"model", c.model},
         {"window_hours", c.window_hours},
         {"allocated_gpu_hours", c.allocated_hours},
         {"measured_hours", c.measured_hours},
         {"used_gpu_hours", c.used_hours},
         {"memory_mean_mib", Number(c.memory_mean_mib < 0 ? kNone : c.memory_mean_mib)}});
  }
  return {{"from_s", static_cast<double>(report.from_us) / 1e6},
          {"to_s", static_cast<double>(report.to_us) / 1e6},
          {"total", Json(report.total)},
          {"tenants", groups(report.tenants)},
          {"departments", groups(report.departments)},
          {"skus", groups(report.skus)},
          {"cards", cards},
          {"wasters", jobs},
          {"rows", report.rows},
          {"rows_unattributed", report.rows_unattributed},
          {"jobs_without_times", report.jobs_without_times},
          {"cards_by_order", in.attached.cards_by_order},
          {"left_out",
           {{"strangers", in.attached.strangers},
            {"nameless", in.attached.nameless},
            {"doubled", in.attached.doubled},
            {"not_measured", in.not_measured},
            {"unknown_metrics", in.unknown}}}};
}

// A text of the job's extra, which CheckTrace knows to be a JSON object or empty.
std::string ExtraText(const trace::Job& job, const char* key, std::string otherwise) {
  if (job.extra.empty()) return otherwise;
  const auto extra = nlohmann::json::parse(job.extra, nullptr, false);
  const auto found = extra.find(key);
  return found != extra.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

void Run(const Options& o, Context* context) {
  auto in = LoadMeasured(o.input);
  if (!in) return context->BadInput(in.error());
  sim::UsageOptions options;
  const auto us = [](double s) { return std::llround(s * 1e6); };
  if (!std::isnan(o.from_s)) options.from_us = us(o.from_s);
  if (!std::isnan(o.to_s)) options.to_us = us(o.to_s);
  options.idle_below_percent = o.idle_below;
  options.idle_for_us = us(o.idle_hours * 3600);
  options.hold_us = us(o.hold_s);
  options.metric = o.metric;
  for (const trace::Job& job : in->trace.jobs) {
    options.departments.push_back(
        ExtraText(job, "department", job.tenant.substr(0, job.tenant.find('/'))));
    options.skus.push_back(ExtraText(job, "sku", job.kind));
  }
  const auto report = sim::ReportUsage(in->trace, options);
  if (!report) {
    return context->BadInput({o.input.directory, report.error().ToString() + " (--from, --to)"});
  }
  SayLeftOut(*in);
  if (report->jobs_without_times > 0) {
    std::fprintf(stderr, "%lld jobs have no start: not counted as allocated\n",
                 static_cast<long long>(report->jobs_without_times));
  }
  if (report->rows_unattributed > 0) {
    std::fprintf(stderr, "%lld measurements of jobs lie outside their allocation\n",
                 static_cast<long long>(report->rows_unattributed));
  }
  std::fprintf(stderr, "%.1f of %.1f allocated GPU-hours were measured (%.1f %%)\n",
               report->total.measured_hours, report->total.allocated_hours,
               report->total.allocated_hours > 0
                   ? 100 * report->total.measured_hours / report->total.allocated_hours
                   : 0);
  if (o.format == Format::kJson) return Print(JsonOf(*report, *in, o.top));
  if (o.by == "card") return Print(CardTable(report->cards), o.format);
  if (o.by == "job") return Print(JobTable(Wasters(*report, o.top), in->trace), o.format);
  const auto& groups = o.by == "tenant"       ? report->tenants
                       : o.by == "department" ? report->departments
                                              : report->skus;
  Print(Totals(o.by, groups, report->total), o.format);
}

}  // namespace

void AddUsageInput(CLI::App* app, UsageInput* input) {
  app->add_option("--trace", input->directory, "canonical trace: what was allocated, and usage.csv")
      ->required()
      ->type_name("DIR");
  app->add_option("--usage", input->files,
                  "measurements from Prometheus: a scrape, or an answer of query or query_range; "
                  "may be repeated")
      ->type_name("FILE");
}

Result<MeasuredTrace> LoadMeasured(const UsageInput& input) {
  MeasuredTrace out;
  auto trace = trace::ReadTrace(input.directory);
  if (!trace) return tl::unexpected<Error>(trace.error());
  out.trace = std::move(*trace);
  std::vector<trace::UsageFile> files;
  for (const std::string& path : input.files) {
    auto file = trace::ReadUsageFile(path);
    if (!file) return tl::unexpected<Error>(file.error());
    if (file->series.empty() && file->unknown.empty() && file->not_measured == 0) {
      return Fail(path,
                  "no samples in it; was the exporter up, and did the query match anything "
                  "in its time range?");
    }
    for (const auto& [name, count] : file->unknown) out.unknown[name] += count;
    out.not_measured += file->not_measured;
    files.push_back(std::move(*file));
  }
  auto attached = trace::AttachUsage(files, out.trace);
  if (!attached) {
    Error error = attached.error();
    error.where = input.directory + "/" + error.where;
    return tl::unexpected<Error>(std::move(error));
  }
  // What the trace says of a job or a card itself comes before what exporters say of it.
  std::set<std::tuple<std::string, std::string, std::string, std::string>> own;
  for (const trace::Usage& u : out.trace.usage) {
    own.emplace(u.job_id, u.job_id.empty() ? u.node_id : "", u.job_id.empty() ? u.gpu_id : "",
                u.metric);
  }
  for (trace::Usage& u : attached->rows) {
    const bool card = u.job_id.empty();
    if (own.contains({u.job_id, card ? u.node_id : "", card ? u.gpu_id : "", u.metric})) {
      ++attached->doubled;
      continue;
    }
    out.trace.usage.push_back(std::move(u));
  }
  attached->rows.clear();
  out.attached = std::move(*attached);
  return out;
}

void SayLeftOut(const MeasuredTrace& in) {
  const auto say = [](std::size_t count, const char* what) {
    if (count > 0) std::fprintf(stderr, "left out: %zu samples %s\n", count, what);
  };
  say(in.attached.strangers, "of pods that the trace does not have");
  say(in.attached.nameless, "with neither pod nor card");
  say(in.attached.doubled, "that another source measured as well");
  say(in.not_measured, "that say \"not measured\"");
  if (in.attached.cards_by_order > 0) {
    std::fprintf(
        stderr,
        "note: %zu cards have a UUID and no number; they were taken for the cards of their "
        "node in the order of first sight\n",
        in.attached.cards_by_order);
  }
  std::size_t unknown = 0;
  for (const auto& [name, count] : in.unknown) unknown += count;
  if (unknown == 0) return;
  std::string names;
  std::size_t shown = 0;
  for (const auto& [name, count] : in.unknown) {
    if (++shown > 5) break;
    names += (shown > 1 ? ", " : "") + name;
  }
  std::fprintf(stderr, "left out: %zu samples of %zu metrics that are not of use (%s%s)\n", unknown,
               in.unknown.size(), names.c_str(), in.unknown.size() > 5 ? ", ..." : "");
}

void AddReportUsage(CLI::App* app, Context* context) {
  auto o = std::make_shared<Options>();
  AddUsageInput(app, &o->input);
  app->add_option("--by", o->by, "tenant, department, sku, card, or job (those that wasted most)")
      ->check(CLI::IsMember({"tenant", "department", "sku", "card", "job"}))
      ->capture_default_str();
  const auto seconds = NumberIn(-1e12, 1e12);
  app->add_option("--from", o->from_s, "start of the window, seconds on the trace's clock")
      ->check(seconds);
  app->add_option("--to", o->to_s, "its end")->check(seconds);
  app->add_option("--idle-below", o->idle_below,
                  "idle: used less than so much of the allocation, %")
      ->check(WholeIn(1, 100))
      ->capture_default_str();
  app->add_option("--idle-for", o->idle_hours, "for so many hours")
      ->check(NumberIn(0.0, 1e6))
      ->capture_default_str();
  app->add_option("--hold", o->hold_s,
                  "a measurement stands for at most so many seconds; 0: 1.5 times the median step "
                  "of its series, at least 300")
      ->check(NumberIn(0.0, 1e9))
      ->capture_default_str();
  app->add_option("--metric", o->metric, "what is use of a card: gpu_util_pct or sm_active_pct")
      ->check(CLI::IsMember({std::string(trace::kGpuUtilPct), std::string(trace::kSmActivePct)}))
      ->capture_default_str();
  app->add_option("--top", o->top, "jobs to list; 0: all")
      ->check(WholeIn(0, 1'000'000'000))
      ->capture_default_str();
  AddFormat(app, &o->format);
  app->callback([o, context] { Run(*o, context); });
}

}  // namespace basalt::cli
