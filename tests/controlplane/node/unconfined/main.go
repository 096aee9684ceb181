// Runs runc as it is told, on a bundle without a filter of system calls.
//
//	unconfined RUNC [ARGUMENT...]
//
// Filters need libseccomp, which is C and not on every machine. Without it runc
// refuses a bundle that has one, and the kubelet asks for one for every pod. The
// tests' pods need none.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "unconfined:", err)
		os.Exit(1)
	}
}

// run becomes the command, and returns only when that fails.
func run(command []string) error {
	if len(command) == 0 {
		return fmt.Errorf("the first argument must be the path of runc")
	}
	// Of runc's commands only those that make a container are told a bundle.
	if flag := slices.Index(command, "--bundle"); flag >= 0 && flag+1 < len(command) {
		if err := unconfine(filepath.Join(command[flag+1], "config.json")); err != nil {
			return err
		}
	}
	return syscall.Exec(command[0], command, os.Environ())
}

// unconfine takes the filter out of a bundle's configuration and leaves the rest
// as it is.
func unconfine(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config, linux map[string]json.RawMessage
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(config["linux"], &linux); err != nil {
		return fmt.Errorf("%s: linux: %w", path, err)
	}
	delete(linux, "seccomp")
	if config["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
