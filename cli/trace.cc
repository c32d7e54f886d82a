// `basalt trace`: check, import and generate canonical traces.
#include <fmt/format.h>

#include "cli/common.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/generate.h"
#include "traces/import.h"

namespace basalt::cli {
namespace {

void Save(Context* context, const trace::Trace& trace, const std::string& out, bool overwrite) {
  trace::WriteOptions options;
  options.overwrite = overwrite;
  if (Status ok = trace::WriteTrace(trace, out, options); !ok) {
    return context->BadInput(ok.error());
  }
  std::fprintf(stderr, "%s: %zu nodes, %zu jobs, %zu tasks\n", out.c_str(), trace.nodes.size(),
               trace.jobs.size(), trace.tasks.size());
}

}  // namespace

void AddTrace(CLI::App* app, Context* context) {
  app->require_subcommand(1);

  CLI::App* check = app->add_subcommand("check", "all that is wrong with a canonical trace");
  auto path = std::make_shared<std::string>();
  auto format = std::make_shared<Format>(Format::kTable);
  check->add_option("trace", *path, "its directory")->required()->type_name("DIR");
  AddFormat(check, format.get());
  check->callback([path, format, context] {
    const trace::Diagnostics found = trace::CheckTrace(*path);
    if (*format == Format::kTable) {
      if (found.ok()) std::printf("%s: ok\n", path->c_str());
      std::fprintf(stderr, "%s%s", found.ToString().c_str(), found.ok() ? "" : "\n");
    } else {
      report::Table table;
      table.header = {"where", "what"};
      nlohmann::json list = nlohmann::json::array();
      for (const Error& e : found.errors) {
        table.rows.push_back({e.where, e.message});
        list.push_back({{"where", e.where}, {"what", e.message}});
      }
      if (*format == Format::kJson) {
        Print(nlohmann::json{{"ok", found.ok()}, {"total", found.total}, {"errors", list}});
      } else {
        Print(table, *format);
      }
    }
    if (!found.ok()) context->exit_code = kBadInput;
  });

  struct ImportOptions {
    std::string format = "openb";
    trace::ImportFiles files;
    std::string out;
    bool overwrite = false;
  };
  CLI::App* import = app->add_subcommand("import", "turn a public trace into a canonical one");
  auto i = std::make_shared<ImportOptions>();
  std::string formats;
  for (const trace::Importer& importer : trace::Importers()) {
    formats += fmt::format("{}{} ({})", formats.empty() ? "" : "; ", importer.name, importer.files);
  }
  import->add_option("--format", i->format, formats)->capture_default_str();
  import->add_option("--nodes", i->files.nodes, "node list")->type_name("FILE");
  import->add_option("--pods", i->files.pods, "pod or job list")->type_name("FILE");
  import->add_option("--dir", i->files.directory, "canonical trace")->type_name("DIR");
  import->add_option("--out", i->out, "directory to write")->required()->type_name("DIR");
  import->add_flag("--overwrite", i->overwrite, "replace a trace that is there");
  import->callback([i, context] {
    const auto trace = trace::Import(i->format, i->files);
    if (!trace) return context->BadInput(trace.error());
    Save(context, *trace, i->out, i->overwrite);
  });

  struct GenerateOptions {
    trace::GeneratorOptions options;
    std::string shape = "lognormal";
    std::string out;
    bool overwrite = false;
  };
  CLI::App* generate = app->add_subcommand("generate", "make a trace with openb's request mix");
  auto g = std::make_shared<GenerateOptions>();
  AddSeed(generate, "--seed", &g->options.seed, "");
  generate->add_option("--nodes", g->options.nodes, "")->capture_default_str();
  generate->add_option("--pods", g->options.pods, "")->capture_default_str();
  generate->add_option("--load", g->options.load, "offered GPU load, as a part of capacity")
      ->capture_default_str();
  generate->add_option("--mean-duration", g->options.mean_duration_s, "seconds")
      ->capture_default_str();
  generate->add_option("--duration", g->shape, "exponential or lognormal")
      ->check(CLI::IsMember({"exponential", "lognormal"}))
      ->capture_default_str();
  generate->add_option("--sigma", g->options.sigma, "of the lognormal")->capture_default_str();
  generate->add_option("--out", g->out, "directory to write")->required()->type_name("DIR");
  generate->add_flag("--overwrite", g->overwrite, "replace a trace that is there");
  generate->callback([g, context] {
    g->options.duration = g->shape == "exponential" ? trace::DurationShape::kExponential
                                                    : trace::DurationShape::kLognormal;
    const auto trace = trace::Generate(g->options);
    if (!trace) return context->BadInput(trace.error());
    Save(context, *trace, g->out, g->overwrite);
  });
}

}  // namespace basalt::cli
