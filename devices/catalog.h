// The catalog of card models: what each is and allows, under which names pods ask for it, and what
// its device plugin wants to be told. One YAML file a vendor (devices/catalog), embedded in the
// binary; users' files have the same form and replace models of the same name. docs/devices.md
// lists the keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "scheduler-core/base/result.h"
#include "scheduler-core/cluster/card_rules.h"

namespace basalt::devices {

struct CardModel {
  std::string name = {};                      // as node lists spell it; CardSpec::model
  std::string vendor = {};                    // RequestSpec::vendors
  std::string help = {};                      // one line
  std::vector<std::string> aliases = {};      // as drivers and plugins spell it
  std::vector<std::string> short_names = {};  // lower case, what resource names end with: "a100"
  std::string word = {};   // what resource names and annotations of its own contain
  MiB memory_mib = 0;      // that may be handed out
  MiB capacity_mib = 0;    // the largest request that means the whole card; at least memory_mib
  std::int32_t cores = 0;  // in which some plugins count (AMD's CUs); 0: no
  std::vector<std::int32_t> template_slots =
      {};  // by CardRules::templates, where plugins count them
  CardRules rules = {};
};

// One annotation or label that a plugin reads: the same small form for all vendors. $names in the
// texts are replaced (assignment.h lists them): `slice` for each slice, the slices joined are
// $slices in `container`, the containers joined are $containers in `pod`.
struct AnnotationForm {
  std::string key = {};
  std::string slice = {};
  std::string whole_slice = {};  // for slices that are whole cards; empty: as `slice`
  std::string slice_join = {};
  std::string container = "$slices";
  std::string container_join = {};
  std::string pod = "$containers";
  bool used_only = false;   // containers without cards are left out
  bool first_only = false;  // of all slices only the first
  bool mig_only = false;    // only MIG slices; not written without one
};

enum class Takes : std::uint8_t { kAny, kWhole, kPart };

// One way in which pods ask for a vendor's cards: the names of one device plugin. Names may hold
// $word, the model's; the interface then stands for one of each word.
struct Interface {
  std::string name = {};  // "nvidia/hami"
  std::string vendor = {};
  std::string platform = {};  // "hami", "volcano" or "plugin" (the vendor's own)
  Takes takes = Takes::kAny;
  std::vector<std::string> models = {};  // empty: all of the vendor

  std::string count = {}, memory = {}, percent = {}, cores = {};  // resource names; empty: none
  std::string slots = {};       // counts slots of a template (Enflame DRS)
  std::string mig_prefix = {};  // "nvidia.com/mig-": the rest is a MIG profile
  std::int64_t memory_unit_mib = 1;
  bool memory_suffix_bytes = false;              // a quantity with a suffix (4096Mi) is bytes
  std::int64_t memory_mib_above = 0;             // larger plain numbers are MiB; 0: none
  std::vector<std::int64_t> memory_values = {};  // the only legal ones, in units; empty: all
  std::int64_t cores_per_card = 100;             // 0: CardModel::cores
  bool cores_percent = false;                    // asked in percent, told in cores (AMD)
  bool totals = false;                           // amounts are for all cards together
  bool several_whole = false;      // several cards are whole ones, whatever else is asked
  std::int64_t default_count = 0;  // when amounts are asked but no count; 0: an error
  std::int64_t default_cores = 0;
  bool exclusive_alone = false;                // count alone, or with 100 %, is whole cards
  bool percent_wins = false;                   // over memory; else memory over percent
  bool limits_only = false;                    // requests do not count
  bool init_slots = true;                      // annotations have slots for init containers too
  std::string mode_key = {}, mode_value = {};  // the annotation that chooses this interface
  std::string qos_key = {}, qos_default = {};  // the annotation with the QoS class
  std::vector<std::string> qos_values = {};
  // Annotations in which pods name types (substrings of them) and UUIDs.
  std::vector<std::string> use_type = {}, nouse_type = {}, use_uuid = {}, nouse_uuid = {};
  std::vector<AnnotationForm> annotations = {};
  std::vector<AnnotationForm> labels = {};
};

// A resource name of one model (`gpu-$model`, with any domain in front): it asks as another name
// does, but only for models with the short name.
struct ModelResource {
  std::string name = {};
  std::string as = {};
};

struct Vendor {
  std::string name = {};
  std::string help = {};
  std::vector<CardModel> models = {};
  std::vector<Interface> interfaces = {};
  std::vector<ModelResource> model_resources = {};
};

struct Catalog {
  std::vector<Vendor> vendors = {};  // ascending by name
};

// What is embedded. It is valid; the tests say so.
Catalog EmbeddedCatalog();
// A vendor's file. Errors: all faults of the file, as file:line:column.
Result<Vendor> ParseVendor(const std::string& file, const std::string& text);
// Puts a vendor's file into the catalog: its models replace those of the same name, its interfaces
// likewise. Errors: a model name or alias that another vendor has.
Status AddVendor(Catalog* catalog, Vendor vendor, const std::string& file);

// By name or alias, without regard to case; null: unknown.
const CardModel* FindModel(const Catalog& catalog, std::string_view name);
const Vendor* FindVendor(const Catalog& catalog, std::string_view name);
// An interface with $word replaced everywhere.
Interface ForWord(const Interface& interface, const std::string& word);
bool HasWord(const Interface& interface);
// Whether the interface serves the model.
bool Serves(const Interface& interface, const CardModel& model);

// For the engine (CardRulesSet events), by vendor and model.
std::vector<CardRules> CardRulesOf(const Catalog& catalog);

// The keys of a vendor's file as Markdown tables, for docs/devices.md: of the file, of a model, of
// an interface, of an annotation.
std::string CatalogKeys();

}  // namespace basalt::devices
