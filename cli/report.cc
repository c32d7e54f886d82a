// `basalt report`: the HTML page from data that `basalt sim --report FILE.json` saved, and
// `basalt report usage` (cli/report_usage.cc).
#include "cli/common.h"
#include "report/html.h"

namespace basalt::cli {

void AddReport(CLI::App* app, Context* context) {
  struct Options {
    std::string data;
    std::string out;
  };
  auto o = std::make_shared<Options>();
  app->add_option("data", o->data, "saved by basalt sim --report FILE.json")->type_name("FILE");
  app->add_option("--out", o->out, "page to write")->type_name("FILE");
  AddReportUsage(app->add_subcommand("usage", "allocated against used"), context);
  app->callback([app, o, context] {
    // Both are required, but not by the subcommand.
    if (!app->get_subcommands().empty()) return;
    if (o->data.empty()) throw CLI::RequiredError("data");
    if (o->out.empty()) throw CLI::RequiredError("--out");
    const auto text = ReadFile(o->data, std::size_t{1} << 30);
    if (!text) return context->BadInput(text.error());
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (!json.is_object() || !json.contains("schema") || json["schema"] != "basalt.report/1") {
      return context->BadInput(Error{o->data, "is not report data (schema basalt.report/1)"});
    }
    for (const char* list : {"causes", "maps", "runs", "traces"}) {
      if (!json.contains(list) || !json[list].is_array()) {
        return context->BadInput(
            Error{o->data, std::string("the list \"") + list +
                               "\" is missing; write the file with basalt sim --report FILE.json"});
      }
    }
    if (Status ok = WriteFile(o->out, report::RenderHtml(json.dump())); !ok) {
      return context->BadInput(ok.error());
    }
    std::fprintf(stderr, "report: %s\n", o->out.c_str());
  });
}

}  // namespace basalt::cli
