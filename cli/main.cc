// The `basalt` command: one file per subcommand. Data goes to stdout, progress and errors to
// stderr. Exit codes: 0 ok, 1 a gate failed, 2 bad input, 3 nondeterminism.
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "cli/common.h"
#include "cli/recordings.h"
#include "cli/version.h"
#include "policies/builtin.h"
#include "scheduler-core/base/suggest.h"

namespace {

// Names that later versions fill in; saying so beats "unknown command".
constexpr std::string_view kReserved[] = {"bound", "what-if", "defrag", "sweep"};

}  // namespace

int main(int argc, char** argv) {
  using namespace basalt;
  using namespace basalt::cli;
  Context context;
  RegisterBuiltinPolicies(context.registry);
  for (int i = 0; i < argc; ++i) context.command_line += (i ? " " : "") + std::string(argv[i]);

  CLI::App app("Basalt: GPU placement engine and fragmentation simulator", "basalt");
  app.set_version_flag("--version", std::string("basalt ") + kVersion);
  app.require_subcommand(1);
  std::string policies = "Placement policies (NODE[/CARD], blends as a:0.3+b:0.7):\n";
  for (const Registry::Listed& p : context.registry.list()) {
    policies += "  " + p.name + std::string(p.name.size() < 16 ? 16 - p.name.size() : 1, ' ') +
                p.help + "\n";
  }
  policies +=
      "Card rules: best, spread, first, each, random, topology, pair-sum, go-gpuallocator\n";
  app.footer(policies);

  AddSim(app.add_subcommand("sim", "replay a trace under placement policies"), &context);
  AddVerify(app.add_subcommand("verify", "compare runs with published results"), &context);
  AddTrace(app.add_subcommand("trace", "check, import and generate traces"), &context);
  AddExplain(app.add_subcommand("explain", "why a request is placed where, or not"), &context);
  AddSnapshot(app.add_subcommand("snapshot", "make, show and recover engine states"), &context);
  AddReplay(app.add_subcommand("replay", "decide a recorded day of a server again"), &context);
  AddShadow(app.add_subcommand("shadow", "another scheduler's choices against ours"), &context);
  AddBench(app.add_subcommand("bench", "gate a change on decisions and work"), &context);
  AddReport(app.add_subcommand("report", "an HTML report from saved runs; measured use"), &context);
  AddPlan(app.add_subcommand("plan", "how far one may oversubscribe"), &context);
  AddTopo(app.add_subcommand("topo", "machines: drawing, bandwidth, card choice"), &context);
  AddServe(app.add_subcommand("serve", "decide for live clusters over gRPC and HTTP"), &context);
  AddCtl(app.add_subcommand("ctl", "tell a running server about pods and cards"), &context);
  AddDevices(app.add_subcommand("devices", "card models; what a pod becomes on each"), &context);

  if (argc > 1 && argv[1][0] != '-') {
    const std::string_view name(argv[1]);
    std::vector<std::string> known;
    for (const CLI::App* sub : app.get_subcommands({})) known.push_back(sub->get_name());
    for (const std::string_view reserved : kReserved) {
      if (name == reserved) {
        std::fprintf(stderr, "basalt: \"%s\" is not in this version (%s); see CHANGELOG.md\n",
                     argv[1], kVersion);
        return kBadInput;
      }
    }
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::fprintf(stderr, "basalt: unknown command %s\n", SuggestText(name, known).c_str());
      return kBadInput;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    std::fprintf(stderr, "basalt: %s\nRun with --help for more.\n", e.what());
    return kBadInput;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "basalt: out of memory\n");
    return kBadInput;
  } catch (const std::exception& e) {  // from a library; ours return Result
    std::fprintf(stderr, "basalt: %s\n", e.what());
    return kBadInput;
  }
  // A full disk shows when the buffer is written: half an answer must not look like a whole one.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fprintf(stderr, "basalt: standard output: cannot be written; is there space?\n");
    return kBadInput;
  }
  return context.exit_code;
}
