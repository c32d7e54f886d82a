// Renders the Helm chart without Helm, for the test of deploy/: text/template with those of Helm's
// functions that the chart uses. Arguments: the chart's folder, its values as JSON.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

func indent(n int, text string) string {
	by := strings.Repeat(" ", n)
	return by + strings.ReplaceAll(text, "\n", "\n"+by)
}

// YAML in blocks; scalars as JSON, which YAML holds.
func toYAML(value any) string {
	var lines []string
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			text := toYAML(v[key])
			switch v[key].(type) {
			case map[string]any, []any:
				if text != "{}" && text != "[]" {
					lines = append(lines, key+":\n"+indent(2, text))
					continue
				}
			}
			lines = append(lines, key+": "+text)
		}
		if lines == nil {
			return "{}"
		}
	case []any:
		for _, item := range v {
			lines = append(lines, "- "+indent(2, toYAML(item))[2:])
		}
		if lines == nil {
			return "[]"
		}
	default:
		text, _ := json.Marshal(v)
		return string(text)
	}
	return strings.Join(lines, "\n")
}

// Files is Helm's .Files.
type Files struct {
	root string
	some map[string]any
}

// Get is a file's text.
func (f Files) Get(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(f.root, path))
	return string(text), err
}

// Glob is the files of a pattern.
func (f Files) Glob(pattern string) (Files, error) {
	paths, err := filepath.Glob(filepath.Join(f.root, pattern))
	out := Files{f.root, map[string]any{}}
	for _, path := range paths {
		text, failed := os.ReadFile(path)
		err = errors.Join(err, failed)
		out.some[filepath.Base(path)] = string(text)
	}
	return out, err
}

// AsConfig is the files as the data of a ConfigMap.
func (f Files) AsConfig() string { return toYAML(f.some) }

func number(value any) int {
	if float, ok := value.(float64); ok {
		return int(float)
	}
	return value.(int)
}

func render(root, values string, out io.Writer) error {
	var data any
	if err := json.Unmarshal([]byte(values), &data); err != nil {
		return err
	}
	all := template.New("")
	all.Funcs(template.FuncMap{
		"include": func(name string, dot any) (string, error) {
			var text strings.Builder
			err := all.ExecuteTemplate(&text, name, dot)
			return text.String(), err
		},
		"add": func(a, b any) int { return number(a) + number(b) },
		"default": func(otherwise, v any) any {
			if v == nil || v == "" {
				return otherwise
			}
			return v
		},
		"fail":    func(text string) (string, error) { return "", errors.New(text) },
		"list":    func(items ...any) []any { return items },
		"nindent": func(n int, text string) string { return "\n" + indent(n, text) },
		"quote":   func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"replace": func(old, by, text string) string { return strings.ReplaceAll(text, old, by) },
		"ternary": func(yes, no any, is bool) any {
			if is {
				return yes
			}
			return no
		},
		"toYaml":     toYAML,
		"trimSuffix": func(suffix, text string) string { return strings.TrimSuffix(text, suffix) },
		"trunc":      func(n int, text string) string { return text[:min(n, len(text))] },
	})
	paths, err := filepath.Glob(filepath.Join(root, "templates", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err = all.New(filepath.Base(path)).Parse(string(text)); err != nil {
			return err
		}
	}
	dot := map[string]any{
		"Values":  data,
		"Release": map[string]any{"Name": "rel", "Namespace": "ns", "Service": "Helm"},
		"Chart":   map[string]any{"AppVersion": "0.1.0"},
		"Files":   Files{root: root},
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "_") {
			continue
		}
		rendered := out
		if filepath.Ext(name) == ".txt" {
			rendered = io.Discard // for people
		} else if _, err := fmt.Fprintln(out, "\n---"); err != nil {
			return err
		}
		if err := all.ExecuteTemplate(rendered, name, dot); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: render CHART VALUES_JSON")
		os.Exit(2)
	}
	if err := render(os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
