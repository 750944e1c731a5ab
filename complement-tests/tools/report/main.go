// Reads what `go test -json` prints on its standard input and says what it means: failing tests with the reason, what
// became of the tests that must pass, and, last, how many passed, failed and were skipped.
//
//	report [-accept] [-some] EXPECTED
//
// EXPECTED lists the tests that must pass, a line each: package, name. -accept adds those that passed to it. -some says
// that not all tests of the packages were asked for, so that a listed one may be missing.
//
// The status is 1 if a listed test did not pass, or nothing ran at all.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"regexp"
	"sort"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
}

// result is what is known of one test or subtest.
type result struct {
	state string // pass, fail, skip; empty while it runs
	lines []string
}

type suite struct {
	tests    map[string]map[string]*result // by package, by name
	packages map[string]string             // how each package ended
	builds   []string                      // what the compiler said
}

const (
	longestReason = 400
	keptLines     = 200
)

var (
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	// dated matches a line of the log.
	dated = regexp.MustCompile(`^\d{4}/\d\d/\d\d `)
	// said matches a line of a test's own, as against one of the code under it.
	said = regexp.MustCompile(`^\s*[a-zA-Z0-9_]+\.go:\d+: `)
)

func main() {
	accept := flag.Bool("accept", false, "add what passed to the list")
	some := flag.Bool("some", false, "not all tests were asked for")
	flag.Parse()
	log.SetFlags(0)
	expected, err := readList(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	s := read(os.Stdin)
	counts := s.print()
	ok := s.compare(expected, *some)
	if *accept {
		if err := s.accept(flag.Arg(0), expected); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", counts["pass"], counts["fail"], counts["skip"])
	if !ok || len(s.packages) == 0 || len(s.builds) > 0 {
		os.Exit(1)
	}
}

func readList(file string) (map[string]bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	list := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			list[line] = true
		}
	}
	return list, nil
}

func read(from io.Reader) *suite {
	s := &suite{tests: map[string]map[string]*result{}, packages: map[string]string{}}
	lines := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil && e.Action != "" {
			s.take(e)
		} else if len(line) > 0 {
			fmt.Print(string(line))
		}
		if err != nil {
			return s
		}
	}
}

func (s *suite) take(e event) {
	if e.Action == "build-output" {
		s.builds = append(s.builds, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	name := path.Base(e.Package)
	if s.tests[name] == nil {
		s.tests[name] = map[string]*result{}
	}
	if e.Test == "" {
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			s.packages[name] = e.Action
			fmt.Fprintf(os.Stderr, "%s is through\n", name)
		}
		return
	}
	r := s.tests[name][e.Test]
	if r == nil {
		r = &result{}
		s.tests[name][e.Test] = r
	}
	switch e.Action {
	case "pass", "fail", "skip":
		r.state = e.Action
	case "output":
		if len(r.lines) == keptLines {
			r.lines = r.lines[1:]
		}
		r.lines = append(r.lines, strings.TrimRight(colour.ReplaceAllString(e.Output, ""), "\n"))
	}
}

// print lists failing tests and the counts of each package, and returns the sum of the counts.
func (s *suite) print() map[string]int {
	for _, line := range s.builds {
		fmt.Print(line)
	}
	sum := map[string]int{}
	table := []string{}
	for _, name := range sorted(s.tests) {
		counts := map[string]int{}
		for _, test := range sorted(s.tests[name]) {
			if strings.Contains(test, "/") {
				continue
			}
			r := s.tests[name][test]
			if r.state == "" {
				r.state = "fail"
				r.lines = append(r.lines, "x.go:0: it did not end")
			}
			counts[r.state]++
			sum[r.state]++
			if r.state == "fail" {
				s.explain(name, test)
			}
		}
		table = append(table, fmt.Sprintf("%-12s %3d passed, %3d failed, %3d skipped", name, counts["pass"], counts["fail"], counts["skip"]))
	}
	fmt.Println()
	for _, row := range table {
		fmt.Println(row)
	}
	return sum
}

// explain prints a failing test and the reasons of its innermost failing subtests.
func (s *suite) explain(name, test string) {
	fmt.Printf("FAIL %s %s\n", name, test)
	all := s.tests[name]
	for _, sub := range sorted(all) {
		if sub != test && !strings.HasPrefix(sub, test+"/") || all[sub].state == "pass" || all[sub].state == "skip" {
			continue
		}
		inner := false
		for other, r := range all {
			inner = inner || strings.HasPrefix(other, sub+"/") && r.state == "fail"
		}
		if !inner {
			where := strings.TrimPrefix(strings.TrimPrefix(sub, test), "/")
			if where != "" {
				where += ": "
			}
			fmt.Printf("    %s%s\n", where, reason(all[sub].lines))
		}
	}
}

// reason is the last thing that a failing test said.
func reason(lines []string) string {
	last := ""
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if last == "" && line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
		if !said.MatchString(line) || strings.Contains(line, "Deploy times") || strings.Contains(line, "[CSAPI] ") {
			continue
		}
		// What follows belongs to it.
		for _, more := range lines[i+1:] {
			more = strings.TrimSpace(more)
			if more == "" || strings.HasPrefix(more, "---") || strings.HasPrefix(more, "===") || said.MatchString(more) || dated.MatchString(more) {
				break
			}
			line += " " + more
		}
		last = line
		break
	}
	if len(last) > longestReason {
		last = last[:longestReason] + "…"
	}
	return last
}

// compare says which listed tests did not pass.
func (s *suite) compare(expected map[string]bool, some bool) bool {
	ok := true
	for _, line := range sorted(expected) {
		name, test, _ := strings.Cut(line, " ")
		if _, ran := s.tests[name]; !ran {
			continue
		}
		r := s.tests[name][test]
		if r == nil && some || r != nil && r.state == "pass" {
			continue
		}
		state := "did not run"
		if r != nil {
			state = "was to pass: " + r.state
		}
		fmt.Printf("EXPECTED %s %s\n", line, state)
		ok = false
	}
	return ok
}

// accept writes the list anew, with what passed added. Nothing is ever taken off it here.
func (s *suite) accept(file string, expected map[string]bool) error {
	for name, tests := range s.tests {
		for test, r := range tests {
			if r.state == "pass" && !strings.Contains(test, "/") {
				expected[name+" "+test] = true
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head := []string{}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			head = append(head, line)
		}
	}
	lines := append(head, sorted(expected)...)
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

func sorted[V any](of map[string]V) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
