// manifest.json of a canonical trace: reading with places for errors, and writing.
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "traces/canonical.h"
#include "traces/check.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

using nlohmann::json;

// line:column of a byte offset.
std::string Position(const std::string& name, std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte);
  const auto line = 1 + static_cast<std::size_t>(std::ranges::count(before, '\n'));
  const std::size_t begin = before.rfind('\n') + 1;  // npos + 1 is 0
  return At(name, line, before.size() - begin + 1);
}

// Fields are complained about where their key stands; JSON values keep no place.
class ManifestReader {
 public:
  ManifestReader(const std::string& name, std::string_view text, Diagnostics* diagnostics)
      : name_(name), text_(text), diagnostics_(diagnostics) {}

  void Report(std::string_view key, std::string message) {
    const std::size_t at = text_.find('"' + std::string(key) + '"');
    diagnostics_->Add(at == std::string_view::npos ? name_ : Position(name_, text_, at),
                      std::string(key) + ' ' + std::move(message));
  }
  void CheckKeys(const json& object, std::string_view of, std::span<const std::string_view> known) {
    for (const auto& item : object.items()) {
      if (std::ranges::find(known, item.key()) != known.end()) continue;
      Report(item.key(),
             "is not a key of " + std::string(of) + DidYouMean(item.key(), known, "; remove it"));
    }
  }
  std::string Text(const json& object, std::string_view key, bool required = false) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) {
      if (required) Report(key, "is missing");
      return {};
    }
    if (found->is_string()) return found->get<std::string>();
    Report(key, "must be a string");
    return {};
  }
  std::size_t Count(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number_unsigned()) {
      return found->get<std::size_t>();
    }
    Report(found == object.end() ? "counts" : key, found == object.end()
                                                       ? "lacks \"" + std::string(key) + "\""
                                                       : "must be a whole number, 0 or more");
    return 0;
  }
  // The array under `key`, or null when it is absent or (reported) something else.
  const json* Array(const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_array())
      return found == object.end() ? nullptr : &*found;
    Report(key, "must be a list");
    return nullptr;
  }

 private:
  const std::string& name_;
  std::string_view text_;
  Diagnostics* diagnostics_;
};

std::optional<json> ParseJson(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    const std::size_t byte = error.byte == 0 ? 0 : error.byte - 1;
    diagnostics->Add(Position(name, text, std::min(byte, text.size())),
                     "not valid JSON; look for a missing comma, quote or brace just before");
  } catch (const json::exception& error) {  // such as a number out of range
    diagnostics->Add(name, std::string("not usable JSON: ") + error.what());
  }
  return std::nullopt;
}

}  // namespace

Manifest ParseManifest(const std::string& name, std::string_view text, Diagnostics* diagnostics,
                       Counts* counts) {
  Manifest manifest;
  if (!CheckText(name, &text, diagnostics)) return manifest;
  const std::optional<json> parsed = ParseJson(name, text, diagnostics);
  if (!parsed) return manifest;
  const json& root = *parsed;
  if (!root.is_object()) {
    diagnostics->Add(At(name, 1, 1), "must be a JSON object, {...}");
    return manifest;
  }
  ManifestReader reader(name, text, diagnostics);
  const auto format = root.find("format");
  if (format == root.end() || !format->is_string() || *format != kTraceFormat) {
    reader.Report("format", "must be \"" + std::string(kTraceFormat) +
                                "\", the one that this version reads" +
                                (format != root.end() && format->is_string()
                                     ? ", but is " + Quoted(format->get_ref<const std::string&>())
                                     : ""));
    return manifest;
  }
  constexpr std::array<std::string_view, 10> kKeys = {
      "format",    "source", "licence",  "attribution", "time_zero",
      "time_unit", "files",  "importer", "notes",       "counts"};
  reader.CheckKeys(root, "the manifest", kKeys);
  manifest.source = reader.Text(root, "source");
  manifest.licence = reader.Text(root, "licence");
  manifest.attribution = reader.Text(root, "attribution");
  manifest.time_zero = reader.Text(root, "time_zero");
  manifest.importer = reader.Text(root, "importer");
  if (root.contains("time_unit") && root["time_unit"] != "s") {
    reader.Report("time_unit", "must be \"s\"");
  }
  if (const json* files = reader.Array(root, "files")) {
    constexpr std::array<std::string_view, 2> kFileKeys = {"name", "sha256"};
    for (const json& file : *files) {
      if (!file.is_object()) {
        reader.Report("files", "must hold objects with name and sha256");
        continue;
      }
      reader.CheckKeys(file, "a file", kFileKeys);
      manifest.files.push_back(
          {reader.Text(file, "name", true), reader.Text(file, "sha256", true)});
    }
  }
  if (const json* notes = reader.Array(root, "notes")) {
    for (const json& note : *notes) {
      if (note.is_string()) {
        manifest.notes.push_back(note.get<std::string>());
      } else {
        reader.Report("notes", "must hold strings");
      }
    }
  }
  const auto said = root.find("counts");
  if (said == root.end() || !said->is_object()) {
    reader.Report("counts", "must be an object with nodes, jobs and tasks");
  } else {
    reader.CheckKeys(*said, "counts", kTableNames);
    for (std::size_t t = 0; t < kTableNames.size(); ++t) {
      if (t >= kRequiredTables && !said->contains(kTableNames[t])) continue;
      counts->rows[t] = reader.Count(*said, std::string(kTableNames[t]).c_str());
    }
  }
  CheckManifest(manifest, [&](std::string_view field, std::string message) {
    reader.Report(field, std::move(message));
  });
  return manifest;
}

std::string FormatManifest(const Manifest& manifest, const Counts& counts) {
  nlohmann::ordered_json root;
  root["format"] = kTraceFormat;
  root["source"] = manifest.source;
  root["licence"] = manifest.licence;
  root["attribution"] = manifest.attribution;
  root["time_zero"] = manifest.time_zero.empty() ? nlohmann::ordered_json(nullptr)
                                                 : nlohmann::ordered_json(manifest.time_zero);
  root["time_unit"] = "s";
  root["files"] = nlohmann::ordered_json::array();
  for (const SourceFile& file : manifest.files) {
    root["files"].push_back({{"name", file.name}, {"sha256", file.sha256}});
  }
  root["importer"] = manifest.importer;
  root["notes"] = manifest.notes;
  root["counts"] = nlohmann::ordered_json::object();
  for (std::size_t t = 0; t < kTableNames.size(); ++t) {
    if (t < kRequiredTables || counts.rows[t] > 0) {
      root["counts"][std::string(kTableNames[t])] = counts.rows[t];
    }
  }
  // Valid traces hold only UTF-8; replacing keeps this function free of exceptions all the same.
  return root.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

}  // namespace basalt::trace
