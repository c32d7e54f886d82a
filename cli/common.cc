#include "cli/common.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <mutex>
#include <set>

#include "scheduler-core/base/suggest.h"
#include "topology/files/catalog.h"
#include "topology/files/machine_file.h"
#include "topology/synthetic.h"
#include "traces/canonical.h"
#include "traces/generate.h"
#include "traces/openb.h"
#include "traces/orders.h"

namespace basalt::cli {
namespace {

namespace fs = std::filesystem;

// Each index is a task of its own: runs take milliseconds, far more than a task costs, and an even
// split would leave one core idle at the end.
class TbbExecutor : public Executor {
 public:
  explicit TbbExecutor(int threads) : arena_(threads > 0 ? threads : tbb::task_arena::automatic) {}
  void ForEach(std::size_t count, const std::function<void(std::size_t)>& fn) override {
    arena_.execute([&] {
      tbb::parallel_for(
          tbb::blocked_range<std::size_t>(0, count, 1),
          [&](const tbb::blocked_range<std::size_t>& range) {
            for (std::size_t i = range.begin(); i < range.end(); ++i) fn(i);
          },
          tbb::simple_partitioner());
    });
  }

 private:
  tbb::task_arena arena_;
};

std::string StemOf(const std::string& path) {
  std::string name = fs::path(path).filename().string();
  for (const char* ending : {".gz", ".csv", ".txt"}) {
    const std::string_view e(ending);
    if (name.size() > e.size() && name.ends_with(e)) name.resize(name.size() - e.size());
  }
  return name;
}

// Beside the target, so that a rename is all that is left to do.
std::string TemporaryName(const std::string& path) {
  return fmt::format("{}.{}.tmp", path, getpid());
}

template <class T>
CLI::Validator In(T low, T high, const char* what) {
  const std::string range = fmt::format("{}..{}", low, high);
  return CLI::Validator(
      [=](const std::string& text) {
        T value{};
        const char* end = text.data() + text.size();
        const auto parsed = std::from_chars(text.data(), end, value);
        // Written so that NaN is refused too.
        const bool good =
            parsed.ec == std::errc() && parsed.ptr == end && value >= low && value <= high;
        return good ? std::string()
                    : fmt::format("\"{}\" is not a {} in {}", text.substr(0, 80), what, range);
      },
      fmt::format("in {}", range));
}

}  // namespace

CLI::Validator WholeIn(std::int64_t low, std::int64_t high) {
  return In(low, high, "whole number");
}
CLI::Validator NumberIn(double low, double high) { return In(low, high, "number"); }

void Context::BadInput(const Error& error) {
  std::fprintf(stderr, "basalt: %s\n", error.ToString().c_str());
  exit_code = kBadInput;
}

CLI::Option* AddSeed(CLI::App* app, const std::string& name, std::uint64_t* seed,
                     const std::string& help) {
  return app->add_option(name, *seed, help)
      ->check(CLI::Validator(
          [](const std::string& text) {
            // The conversion would take -1, and all that is too large, as the largest number.
            std::uint64_t value = 0;
            const char* end = text.data() + text.size();
            const auto parsed = std::from_chars(text.data(), end, value);
            const bool good = parsed.ec == std::errc() && parsed.ptr == end;
            return good ? std::string()
                        : fmt::format("\"{}\" is not a whole number in 0..{}", text.substr(0, 80),
                                      std::numeric_limits<std::uint64_t>::max());
          },
          ""))
      ->capture_default_str();
}

void AddFormat(CLI::App* app, Format* format) {
  static const std::map<std::string, Format> kNames = {{"table", Format::kTable},
                                                       {"json", Format::kJson},
                                                       {"csv", Format::kCsv},
                                                       {"markdown", Format::kMarkdown}};
  app->add_option_function<std::string>(
         "-o,--output",
         [format](const std::string& name) {
           const auto it = kNames.find(CLI::detail::to_lower(name));
           if (it == kNames.end()) {
             throw CLI::ValidationError("--output " + name,
                                        "there are table, json, csv and markdown");
           }
           *format = it->second;
         },
         "table, json, csv or markdown")
      ->type_name("FORMAT");
}

void Print(const report::Table& table, Format format) {
  const std::string text = format == Format::kCsv        ? report::RenderCsv(table)
                           : format == Format::kMarkdown ? report::RenderMarkdown(table)
                                                         : report::RenderTable(table);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void Print(const nlohmann::json& value) {
  const std::string text =
      value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
}

Result<std::vector<std::uint64_t>> ParseSeeds(const std::string& text) {
  std::vector<std::uint64_t> seeds;
  for (const std::string& part : SplitList(text)) {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    const char* end = part.data() + part.size();
    auto parsed = std::from_chars(part.data(), end, first);
    last = first;
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, last);
    }
    if (parsed.ec != std::errc() || parsed.ptr != end || last < first || last - first > 99'999 ||
        seeds.size() + (last - first) > 99'999) {
      return Fail("--seeds " + text.substr(0, 80),
                  "write seeds as 42-51 or 42,44,50-52 (at most 100,000)");
    }
    // Counted by distance: `s <= last` would never end at the largest number.
    for (std::uint64_t i = 0; i <= last - first; ++i) seeds.push_back(first + i);
  }
  // A seed twice is one run twice, and would count as two samples.
  std::vector<std::uint64_t> unique;
  std::set<std::uint64_t> seen;
  for (const std::uint64_t seed : seeds) {
    if (seen.insert(seed).second) unique.push_back(seed);
  }
  return unique;
}

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> parts;
  std::string part;
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' ? 1 : (c == ')' ? -1 : 0);
    if (c == ',' && depth == 0) {
      parts.push_back(part);
      part.clear();
    } else {
      part += c;
    }
  }
  parts.push_back(part);
  return parts;
}

Result<std::vector<ConfiguredPolicy>> ParsePolicies(const Registry& registry,
                                                    const std::string& text) {
  std::vector<ConfiguredPolicy> policies;
  for (const std::string& expression : SplitList(text)) {
    auto policy = registry.Configure(expression);
    if (!policy) {
      Error error = policy.error();
      if (error.where.empty()) error.where = "--policy";
      return tl::unexpected<Error>(error);
    }
    policies.push_back(std::move(*policy));
  }
  return policies;
}

std::unique_ptr<Executor> MakeTbbExecutor(int threads) {
  return std::make_unique<TbbExecutor>(threads);
}

double ThreadCpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Progress::Impl {
  std::string what;
  bool shown = false;
  std::mutex mutex;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point last{};
};

Progress::Progress(std::string what, bool enabled) {
  if (!enabled || isatty(STDERR_FILENO) == 0) return;
  impl_ = std::make_unique<Impl>();
  impl_->what = std::move(what);
}

Progress::~Progress() {
  if (impl_ && impl_->shown) std::fprintf(stderr, "\r\033[K");
}

void Progress::Update(std::size_t done, std::size_t all) {
  if (!impl_ || all < 2) return;
  const std::scoped_lock lock(impl_->mutex);
  const auto now = std::chrono::steady_clock::now();
  if (done < all && now - impl_->last < std::chrono::milliseconds(100)) return;
  impl_->last = now;
  impl_->shown = true;
  const double elapsed = std::chrono::duration<double>(now - impl_->start).count();
  const double left = elapsed / static_cast<double>(done) * static_cast<double>(all - done);
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(kWidth * done / all);
  std::string bar(static_cast<std::size_t>(filled), '#');
  bar.resize(kWidth, '.');
  std::fprintf(stderr, "\r%s [%s] %zu/%zu  %.0f s left\033[K", impl_->what.c_str(), bar.c_str(),
               done, all, left);
  std::fflush(stderr);
}

void AddTraceInput(CLI::App* app, TraceInput* input) {
  app->add_option("--nodes", input->nodes, "node list (openb CSV)")->type_name("FILE");
  app->add_option("--pods", input->pods, "pod lists (openb CSV), comma separated")
      ->type_name("FILES");
  app->add_option("--trace", input->traces, "canonical trace directory; may be repeated")
      ->type_name("DIR");
  app->add_flag("--generate", input->generate, "make a trace with openb's request mix");
  AddSeed(app, "--generate-seed", &input->generate_seed, "its seed");
  app->add_option("--generate-nodes", input->generate_nodes, "its nodes")->capture_default_str();
  app->add_option("--generate-pods", input->generate_pods, "its pods")->capture_default_str();
  app->add_option("--generate-load", input->generate_load,
                  "its offered GPU load, as a part of capacity (replay)")
      ->capture_default_str();
  app->add_option(
         "--network", input->network,
         "network domains of the nodes, instead of the trace's: a file (see basalt topo network), "
         "or \"labels\" for the labels in common use")
      ->type_name("FILE|labels");
  app->add_option("--target-percent", input->target_percent,
                  "typical requests: the most frequent classes that make up this share")
      ->check(WholeIn(1, 100))
      ->capture_default_str();
}

Result<std::string> MachineText(const std::string& name) {
  const std::vector<std::string> known = topology::CatalogNames();
  if (std::find(known.begin(), known.end(), name) != known.end()) {
    const auto graph = topology::CatalogMachine(name);
    if (!graph) return tl::unexpected<Error>(graph.error());
    return topology::FormatGraph(*graph);
  }
  std::error_code error;
  if (fs::is_regular_file(name, error)) {  // what a vendor's tool printed
    const auto text = ReadFile(name, std::size_t{1} << 20);
    if (!text) return tl::unexpected<Error>(text.error());
    const auto read = topology::ReadMachine(*text, name);
    if (!read) return tl::unexpected<Error>(read.error());
    return topology::FormatGraph(*read);
  }
  const auto graph = topology::ParseGraph(name);
  if (graph) return topology::FormatGraph(*graph);
  const std::string near = NearestName(name, known);
  return Fail("machine \"" + name.substr(0, 80) + "\"",
              "is not in the catalog (basalt topo list)" +
                  (near.empty() ? "" : "; did you mean \"" + near + "\"?") +
                  ", and is no description: " + graph.error().ToString());
}

Result<std::vector<sim::Workload>> LoadWorkloads(const TraceInput& input) {
  const int sources = (input.nodes.empty() && input.pods.empty() ? 0 : 1) +
                      (input.traces.empty() ? 0 : 1) + (input.generate ? 1 : 0);
  if (sources != 1) {
    return Fail("",
                "say where the trace comes from: --nodes FILE --pods FILE, or --trace DIR, "
                "or --generate (one of them)");
  }
  std::vector<sim::Workload> out;
  if (!input.traces.empty() || input.generate) {
    const std::size_t count = input.generate ? 1 : input.traces.size();
    for (std::size_t i = 0; i < count; ++i) {
      if (!input.generate && input.traces[i].empty()) return Fail("--trace", "has no name");
      trace::GeneratorOptions options;
      options.seed = input.generate_seed;
      options.nodes = input.generate_nodes;
      options.pods = input.generate_pods;
      options.load = input.generate_load;
      auto trace = input.generate ? trace::Generate(options) : trace::ReadTrace(input.traces[i]);
      if (!trace) {
        return input.generate ? Fail("--generate-" + trace.error().where, trace.error().message)
                              : tl::unexpected<Error>(trace.error());
      }
      auto nodes = sim::NodesFromTrace(trace->nodes, MachineText);
      if (!nodes) return tl::unexpected<Error>(nodes.error());
      if (!input.network.empty()) {
        if (Status ok = ApplyNetwork(input.network, &*nodes); !ok) {
          return tl::unexpected<Error>(ok.error());
        }
      }
      auto workload = sim::MakeWorkload(
          input.generate ? fmt::format("generated-{}", input.generate_seed)
                         : fs::path(input.traces[i]).lexically_normal().filename().string(),
          std::move(*nodes), trace->jobs, trace->tasks, input.target_percent);
      if (!workload) {
        return input.generate ? tl::unexpected<Error>(workload.error())
                              : Fail(input.traces[i], workload.error().ToString());
      }
      out.push_back(std::move(*workload));
    }
    return out;
  }
  if (input.nodes.empty()) return Fail("--nodes", "is missing: --pods needs a node list");
  if (input.pods.empty()) return Fail("--pods", "is missing: --nodes needs a pod list");
  const auto rows = trace::ReadOpenbNodes(input.nodes);
  if (!rows) return tl::unexpected<Error>(rows.error());
  auto nodes = sim::NodesFromTrace(*rows);
  if (!nodes) return tl::unexpected<Error>(nodes.error());
  if (!input.network.empty()) {
    if (Status ok = ApplyNetwork(input.network, &*nodes); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
  }
  for (const std::string& file : SplitList(input.pods)) {
    if (file.empty()) return Fail("--pods " + input.pods, "has an empty name beside a comma");
    const auto pods = trace::ReadOpenbPods(file);
    if (!pods) return tl::unexpected<Error>(pods.error());
    auto workload =
        sim::MakeWorkload(StemOf(file), *nodes, pods->jobs, pods->tasks, input.target_percent);
    if (!workload) return Fail(file, workload.error().ToString());
    out.push_back(std::move(*workload));
  }
  return out;
}

Result<std::string> FindOrderFile(const std::string& folder, const std::string& trace,
                                  std::uint64_t seed) {
  std::error_code error;
  std::string best;
  std::size_t best_length = 0;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string stem = StemOf(entry.path().string());
    const std::string ending = fmt::format("_{}", seed);
    if (!stem.ends_with(ending)) continue;
    const std::string name = stem.substr(0, stem.size() - ending.size());
    const bool match = name == trace || trace.ends_with("_" + name);
    if (match && name.size() > best_length) {
      best_length = name.size();
      best = entry.path().string();
    }
  }
  if (error) return Fail(folder, "cannot be listed: " + error.message());
  if (best.empty()) {
    return Fail(folder, fmt::format("has no arrival order for trace \"{}\" and seed {}; expected "
                                    "{}_{}.txt or .txt.gz",
                                    trace, seed, trace, seed));
  }
  return best;
}

Result<sim::Order> ReadOrder(const std::string& folder, const sim::Workload& workload,
                             std::uint64_t seed) {
  const auto path = FindOrderFile(folder, workload.name, seed);
  if (!path) return tl::unexpected<Error>(path.error());
  auto read = trace::ReadArrivalOrder(*path, workload.nodes.size(), workload.arrivals.size());
  if (!read) return tl::unexpected<Error>(read.error());
  sim::Order order;
  order.pods = std::move(read->pods);
  order.node_ranks.assign(read->node_rank.begin(), read->node_rank.end());
  return order;
}

Result<std::string> ReadFile(const std::string& path, std::size_t max_bytes) {
  std::error_code error;
  if (fs::is_directory(path, error)) return Fail(path, "is a directory; name a file");
  std::ifstream in(path, std::ios::binary);
  if (!in) return Fail(path, "cannot be read; does it exist?");
  std::string text;
  std::vector<char> block(1U << 16);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(in.gcount()));
    if (text.size() > max_bytes) {
      return Fail(path, fmt::format("is larger than {} MiB", max_bytes >> 20));
    }
  }
  if (in.bad()) return Fail(path, "could not be read to its end");
  return text;
}

namespace {

// Where a link leads; a device or a pipe is written to as it is, never replaced by a file.
bool IsSpecial(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  return fs::exists(status) && !fs::is_regular_file(status);
}
std::string BehindLinks(const std::string& path) {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path, error);
  return error ? path : target.string();
}

}  // namespace

Status CheckWritable(const std::string& name) {
  std::error_code error;
  if (name == "-") return Fail(name, "name a file; standard output has the table or -o json");
  const std::string path = BehindLinks(name);
  if (!fs::is_directory(path, error) && IsSpecial(path)) return {};
  if (fs::is_directory(path, error)) return Fail(path, "is a directory; name a file");
  const std::string temporary = TemporaryName(path);
  const bool made = std::ofstream(temporary, std::ios::binary).is_open();
  std::remove(temporary.c_str());
  if (!made)
    return Fail(path, "cannot be written; does its folder exist, and may you write there?");
  return {};
}

Status WriteFile(const std::string& name, const std::string& bytes) {
  if (name == "-") return Fail(name, "name a file; standard output has the table or -o json");
  const std::string path = BehindLinks(name);
  const bool special = IsSpecial(path);
  const std::string temporary = special ? path : TemporaryName(path);
  {
    std::ofstream out(temporary, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.flush();
    if (!out) {
      if (!special) std::remove(temporary.c_str());
      return Fail(path, "cannot be written; does its folder exist, and is there space?");
    }
  }
  if (special) return {};
  std::error_code error;
  fs::rename(temporary, path, error);
  if (error) {
    std::remove(temporary.c_str());
    return Fail(path, "cannot be written: " + error.message());
  }
  return {};
}

}  // namespace basalt::cli
