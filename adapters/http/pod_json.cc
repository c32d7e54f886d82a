#include "adapters/http/pod_json.h"

#include <limits>
#include <utility>

namespace basalt::http {
namespace {

using simdjson::error_code;
namespace sj = simdjson::ondemand;

constexpr int kMaxContainers = 256;
constexpr std::string_view kQueue = "volcano.sh/queue-name";

// A member that is there and not null.
Result<bool> Get(sj::object& object, const char* field, sj::value* out) {
  const error_code code = object.find_field_unordered(field).get(*out);
  if (code == simdjson::NO_SUCH_FIELD) return false;
  if (code != simdjson::SUCCESS) return JsonError(field, code);
  bool null = false;
  if (const error_code bad = out->is_null().get(null); bad != simdjson::SUCCESS) {
    return JsonError(field, bad);
  }
  return !null;
}

template <class Put>
Status EachMember(sj::object& object, const char* field, const Put& put) {
  sj::value value;
  const auto there = Get(object, field, &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return {};
  sj::object map;
  if (const error_code code = value.get_object().get(map); code != simdjson::SUCCESS) {
    return JsonError(field, code);
  }
  for (auto member : map) {
    sj::field entry;
    if (const error_code code = std::move(member).get(entry); code != simdjson::SUCCESS) {
      return JsonError(field, code);
    }
    std::string_view key;
    if (const error_code code = entry.unescaped_key().get(key); code != simdjson::SUCCESS) {
      return JsonError(field, code);
    }
    // The key is in the parser's buffer: the value may be read after it.
    if (Status ok = put(key, entry.value()); !ok) return ok;
  }
  return {};
}

template <class Each>
Status EachElement(sj::object& object, const char* field, const Each& each) {
  sj::value value;
  const auto there = Get(object, field, &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return {};
  sj::array array;
  if (const error_code code = value.get_array().get(array); code != simdjson::SUCCESS) {
    return JsonError(field, code);
  }
  for (auto element : array) {
    sj::object one;
    if (const error_code code = element.get_object().get(one); code != simdjson::SUCCESS) {
      return JsonError(field, code);
    }
    if (Status ok = each(one); !ok) return ok;
  }
  return {};
}

// Quantities are text in what the API server sends; numbers are allowed where people write them.
Status Quantities(sj::object& resources, const char* field,
                  google::protobuf::Map<std::string, std::string>* out) {
  return EachMember(resources, field, [&](std::string_view key, sj::value value) -> Status {
    const std::string name(key);
    std::string_view text;
    if (value.get_string().get(text) == simdjson::SUCCESS) {
      (*out)[name] = std::string(text);
      return {};
    }
    std::string_view raw = value.raw_json_token();
    while (!raw.empty() &&
           (raw.back() == ' ' || raw.back() == '\n' || raw.back() == '\r' || raw.back() == '\t')) {
      raw.remove_suffix(1);
    }
    if (raw.empty() || raw.size() > 40 || raw.find_first_not_of("0123456789.eE+-") != raw.npos) {
      return Fail(field, "\"" + name.substr(0, 80) + "\" must be a quantity");
    }
    (*out)[name] = std::string(raw);
    return {};
  });
}

Status Containers(sj::object& spec, const char* field, bool init, pb::PodResources* pod) {
  return EachElement(spec, field, [&](sj::object& one) -> Status {
    if (pod->containers_size() == kMaxContainers) {
      return Fail(field, "more than " + std::to_string(kMaxContainers) + " containers");
    }
    pb::PodResources::Container* container = pod->add_containers();
    container->set_init(init);
    auto name = TextOf(one, "name");
    if (!name) return tl::unexpected<Error>(name.error());
    container->set_name(*name);
    if (init) {
      const auto restart = TextOf(one, "restartPolicy");
      if (!restart) return tl::unexpected<Error>(restart.error());
      container->set_sidecar(*restart == "Always");
    }
    sj::value value;
    const auto there = Get(one, "resources", &value);
    if (!there) return tl::unexpected<Error>(there.error());
    if (!*there) return {};
    sj::object resources;
    if (const error_code code = value.get_object().get(resources); code != simdjson::SUCCESS) {
      return JsonError("resources", code);
    }
    if (Status ok = Quantities(resources, "limits", container->mutable_limits()); !ok) return ok;
    return Quantities(resources, "requests", container->mutable_requests());
  });
}

Status Metadata(sj::object& pod, const AnnotationKeys& keys, PodJson* out) {
  sj::value value;
  const auto there = Get(pod, "metadata", &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return Fail("metadata", "is missing: this is no pod");
  sj::object metadata;
  if (const error_code code = value.get_object().get(metadata); code != simdjson::SUCCESS) {
    return JsonError("metadata", code);
  }
  auto name = TextOf(metadata, "name");
  if (!name) return tl::unexpected<Error>(name.error());
  auto space = TextOf(metadata, "namespace");
  if (!space) return tl::unexpected<Error>(space.error());
  auto uid = TextOf(metadata, "uid");
  if (!uid) return tl::unexpected<Error>(uid.error());
  out->key.set_uid(std::move(*uid));
  out->key.set_namespace_(std::move(*space));
  out->key.set_name(std::move(*name));
  return EachMember(metadata, "annotations", [&](std::string_view key, sj::value text) -> Status {
    const bool queue = key == kQueue;
    if (!queue && !keys.Has(key)) return {};
    const std::string kept(key);
    std::string_view words;
    if (const error_code code = text.get_string().get(words); code != simdjson::SUCCESS) {
      return JsonError("annotations", code);
    }
    if (queue) out->queue = std::string(words);
    if (keys.Has(kept)) (*out->resources.mutable_annotations())[kept] = std::string(words);
    return {};
  });
}

Status Spec(sj::object& pod, PodJson* out) {
  sj::value value;
  const auto there = Get(pod, "spec", &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return Fail("spec", "is missing: this is no pod");
  sj::object spec;
  if (const error_code code = value.get_object().get(spec); code != simdjson::SUCCESS) {
    return JsonError("spec", code);
  }
  // Plugins count init containers first, wherever they stand in the text.
  if (Status ok = Containers(spec, "initContainers", true, &out->resources); !ok) return ok;
  if (Status ok = Containers(spec, "containers", false, &out->resources); !ok) return ok;
  Status ok = EachMember(spec, "nodeSelector", [&](std::string_view key, sj::value text) -> Status {
    pb::Label* label = out->resources.add_node_selector();
    label->set_key(std::string(key));
    std::string_view words;
    if (const error_code code = text.get_string().get(words); code != simdjson::SUCCESS) {
      return JsonError("nodeSelector", code);
    }
    label->set_value(std::string(words));
    return {};
  });
  if (!ok) return ok;
  auto node = TextOf(spec, "nodeName");
  if (!node) return tl::unexpected<Error>(node.error());
  out->node = std::move(*node);
  ok = EachElement(spec, "tolerations", [&](sj::object& one) -> Status {
    auto key = TextOf(one, "key");
    if (!key) return tl::unexpected<Error>(key.error());
    if (!key->empty()) out->resources.add_tolerations(std::move(*key));
    return {};
  });
  if (!ok) return ok;
  const auto priority = IntegerOf(spec, "priority");
  if (!priority) return tl::unexpected<Error>(priority.error());
  if (*priority < std::numeric_limits<std::int32_t>::min() ||
      *priority > std::numeric_limits<std::int32_t>::max()) {
    return Fail("priority", "is out of range");
  }
  out->priority = static_cast<std::int32_t>(*priority);
  return {};
}

}  // namespace

bool AnnotationKeys::Has(std::string_view key) const {
  for (const std::string& known : keys_) {
    if (known.ends_with('/') ? key.starts_with(known) : key == known) return true;
  }
  return false;
}

Result<PodJson> ReadPod(simdjson::ondemand::object pod, const AnnotationKeys& keys) {
  PodJson out;
  if (Status ok = Metadata(pod, keys, &out); !ok) return tl::unexpected<Error>(ok.error());
  if (Status ok = Spec(pod, &out); !ok) return tl::unexpected<Error>(ok.error());
  out.resources.set_name(out.key.name());
  return out;
}

Result<std::string> TextOf(simdjson::ondemand::object& object, const char* field) {
  sj::value value;
  const auto there = Get(object, field, &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return std::string();
  std::string_view text;
  if (const error_code code = value.get_string().get(text); code != simdjson::SUCCESS) {
    return JsonError(field, code);
  }
  return std::string(text);
}

Result<std::int64_t> IntegerOf(simdjson::ondemand::object& object, const char* field) {
  sj::value value;
  const auto there = Get(object, field, &value);
  if (!there) return tl::unexpected<Error>(there.error());
  if (!*there) return std::int64_t{0};
  std::int64_t number = 0;
  if (const error_code code = value.get_int64().get(number); code != simdjson::SUCCESS) {
    return JsonError(field, code);
  }
  return number;
}

tl::unexpected<Error> JsonError(const std::string& where, simdjson::error_code code) {
  return Fail(where, simdjson::error_message(code));
}

std::string Quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      if (c == '"' || c == '\\') {
        out += '\\';
        out += static_cast<char>(c);
      } else if (c < 0x20) {
        out += "\\u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
      } else {
        out += static_cast<char>(c);
      }
      ++i;
      continue;
    }
    const std::size_t length = c >= 0xf0 ? 4 : (c >= 0xe0 ? 3 : 2);
    if (c >= 0xc2 && c < 0xf5 && i + length <= text.size() &&
        simdjson::validate_utf8(text.data() + i, length)) {
      out.append(text.substr(i, length));
      i += length;
    } else {
      out += "\xef\xbf\xbd";
      ++i;
    }
  }
  return out += '"';
}

}  // namespace basalt::http
