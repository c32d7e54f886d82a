// `basalt trace`: check, import, scale and generate canonical traces.
#include <fmt/format.h>

#include "cli/common.h"
#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/generate.h"
#include "traces/import.h"
#include "traces/scale.h"

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

// Where a command that makes a trace puts it.
struct Target {
  std::string out;
  bool overwrite = false;
};

void AddTarget(CLI::App* app, Target* target) {
  app->add_option("--out", target->out, "directory to write")->required()->type_name("DIR");
  app->add_flag("--overwrite", target->overwrite, "replace a trace that is there");
}

void AddScale(CLI::App* app, Context* context) {
  struct ScaleOptions {
    std::string directory;
    double load = 0;
    Target target;
  };
  CLI::App* scale =
      app->add_subcommand("scale", "move a trace's submissions so that it offers another load");
  auto s = std::make_shared<ScaleOptions>();
  scale->add_option("--dir", s->directory, "canonical trace")->required()->type_name("DIR");
  scale->add_option("--load", s->load, "offered GPU load, as a part of capacity")->required();
  AddTarget(scale, &s->target);
  scale->callback([s, context] {
    auto trace = trace::ReadTrace(s->directory);
    if (!trace) return context->BadInput(trace.error());
    const auto before = trace::OfferedLoad(*trace);
    if (!before) return context->BadInput(before.error());
    if (Status ok = trace::ScaleLoad(&*trace, s->load); !ok) {
      return context->BadInput({"--" + ok.error().where, ok.error().message});
    }
    Save(context, *trace, s->target.out, s->target.overwrite);
    if (context->exit_code != kOk) return;
    std::fprintf(stderr, "offered load %.4f, was %.4f\n", trace::OfferedLoad(*trace).value_or(0),
                 *before);
  });
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
    Target target;
  };
  CLI::App* import = app->add_subcommand("import", "turn a public trace into a canonical one");
  auto i = std::make_shared<ImportOptions>();
  std::string formats;
  for (const trace::Importer& importer : trace::Importers()) {
    formats += fmt::format("{}{}: {} ({})", formats.empty() ? "" : "; ", importer.name,
                           importer.help, importer.files);
  }
  import->add_option("--format", i->format, formats)->capture_default_str();
  for (const trace::FileOption& option : trace::kFileOptions) {
    import->add_option(std::string(option.name), i->files.*option.value, std::string(option.help))
        ->type_name(option.name == "--dir" ? "DIR" : "FILE");
  }
  AddTarget(import, &i->target);
  import->callback([i, context] {
    const auto trace = trace::Import(i->format, i->files);
    if (!trace) return context->BadInput(trace.error());
    Save(context, *trace, i->target.out, i->target.overwrite);
  });

  AddScale(app, context);

  struct GenerateOptions {
    trace::GeneratorOptions options;
    std::string shape = "lognormal";
    Target target;
  };
  CLI::App* generate = app->add_subcommand("generate", "make a trace in the mix of a public one");
  auto g = std::make_shared<GenerateOptions>();
  AddSeed(generate, "--seed", &g->options.seed, "");
  generate
      ->add_option("--kind", g->options.kind,
                   "openb (its nodes and requests) or gangs (racks of 8-card nodes, jobs of 1 to "
                   "128 GPUs)")
      ->capture_default_str();
  generate->add_option("--nodes", g->options.nodes, "")->capture_default_str();
  generate->add_option("--racks", g->options.racks, "of gangs; 0: one for 16 nodes")
      ->capture_default_str();
  generate->add_option("--pods", g->options.pods, "")->capture_default_str();
  generate->add_option("--load", g->options.load, "offered GPU load, as a part of capacity")
      ->check(NumberIn(0, 100))
      ->capture_default_str();
  generate->add_option("--mean-duration", g->options.mean_duration_s, "seconds")
      ->check(NumberIn(1e-3, 1e9))
      ->capture_default_str();
  generate->add_option("--duration", g->shape, "exponential or lognormal")
      ->check(CLI::IsMember({"exponential", "lognormal"}))
      ->capture_default_str();
  generate->add_option("--sigma", g->options.sigma, "of the lognormal")
      ->check(NumberIn(0, 5))
      ->capture_default_str();
  AddTarget(generate, &g->target);
  generate->callback([g, context] {
    g->options.duration = g->shape == "exponential" ? trace::DurationShape::kExponential
                                                    : trace::DurationShape::kLognormal;
    const auto trace = trace::Generate(g->options);
    if (!trace) return context->BadInput(trace.error());
    Save(context, *trace, g->target.out, g->target.overwrite);
  });
}

}  // namespace basalt::cli
