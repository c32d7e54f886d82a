// What the subcommands share: exit codes, output formats, lists on the command line, the threads,
// the progress bar, and reading traces.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "report/table.h"
#include "scheduler-core/base/executor.h"
#include "scheduler-core/base/result.h"
#include "scheduler-core/engine/registry.h"
#include "sim/simulator.h"
#include "sim/workload.h"

namespace basalt::cli {

enum ExitCode { kOk = 0, kGateFailed = 1, kBadInput = 2, kNondeterminism = 3 };

enum class Format { kTable, kJson, kCsv, kMarkdown };

struct Context {
  Registry registry;
  std::string command_line;  // as typed, for reports
  int exit_code = kOk;

  // Prints the error to stderr and sets exit code 2.
  void BadInput(const Error& error);
};

// What numeric options are checked with: all of the text is a number of the range, bounds included.
// CLI::Range lets NaN through, for it is neither below nor above.
CLI::Validator WholeIn(std::int64_t low, std::int64_t high);
CLI::Validator NumberIn(double low, double high);
// A seed: any 64-bit number, without a sign.
CLI::Option* AddSeed(CLI::App* app, const std::string& name, std::uint64_t* seed,
                     const std::string& help);
// Adds -o/--output.
void AddFormat(CLI::App* app, Format* format);
void Print(const report::Table& table, Format format);  // not for kJson
void Print(const nlohmann::json& value);

// "42-51", "42,44,50-52"; at most 100,000 seeds.
Result<std::vector<std::uint64_t>> ParseSeeds(const std::string& text);
// Splits at commas outside parentheses.
std::vector<std::string> SplitList(const std::string& text);
Result<std::vector<ConfiguredPolicy>> ParsePolicies(const Registry& registry,
                                                    const std::string& text);

// TBB with at most `threads` threads (0: as many as there are).
std::unique_ptr<Executor> MakeTbbExecutor(int threads);
double ThreadCpuSeconds();

// A bar on stderr when it is a terminal, nothing otherwise.
class Progress {
 public:
  Progress(std::string what, bool enabled);
  ~Progress();
  void Update(std::size_t done, std::size_t all);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where the pods and nodes of a run come from: openb files, canonical traces, or the generator.
struct TraceInput {
  std::string nodes;
  std::string pods;                 // files, comma separated
  std::vector<std::string> traces;  // canonical directories
  bool generate = false;
  std::uint64_t generate_seed = 42;
  std::uint32_t generate_nodes = 1213;
  std::uint32_t generate_pods = 8152;
  double generate_load = 0.9;
  int target_percent = 95;
  std::string network;  // a file of network domains, instead of what the trace says
};
void AddTraceInput(CLI::App* app, TraceInput* input);
// The description of a machine of the catalog, or a description as it stands.
Result<std::string> MachineText(const std::string& name);
// Puts the nodes where a file of network domains says they are (cli/topo_network.cc).
Status ApplyNetwork(const std::string& file, sim::ClusterNodes* cluster);
Result<std::vector<sim::Workload>> LoadWorkloads(const TraceInput& input);

// The order file of a trace and seed in a folder: NAME_SEED.txt or .txt.gz, where NAME is the
// trace's name or its part after some '_'.
Result<std::string> FindOrderFile(const std::string& folder, const std::string& trace,
                                  std::uint64_t seed);
Result<sim::Order> ReadOrder(const std::string& folder, const sim::Workload& workload,
                             std::uint64_t seed);

// Whether a file can be made there: asked before long work, so that it is not done in vain.
Status CheckWritable(const std::string& path);
Result<std::string> ReadFile(const std::string& path, std::size_t max_bytes);
// Writes beside the target and renames, so that a reader never sees half a file.
Status WriteFile(const std::string& path, const std::string& bytes);

void AddSim(CLI::App* app, Context* context);
void AddVerify(CLI::App* app, Context* context);
void AddTrace(CLI::App* app, Context* context);
void AddExplain(CLI::App* app, Context* context);
void AddSnapshot(CLI::App* app, Context* context);
void AddBench(CLI::App* app, Context* context);
void AddReport(CLI::App* app, Context* context);
void AddReportUsage(CLI::App* report, Context* context);
void AddPlan(CLI::App* app, Context* context);
void AddTopo(CLI::App* app, Context* context);
void AddDevices(CLI::App* app, Context* context);
void AddServe(CLI::App* app, Context* context);
void AddTopoCompare(CLI::App* topo, Context* context);
void AddTopoNetwork(CLI::App* topo, Context* context);

// Runs a scenario file's arms and prints or reports them side by side (cli/scenario.cc).
void RunScenarioFile(Context* context, const std::string& path, const std::string& report_path,
                     Format format);

}  // namespace basalt::cli
