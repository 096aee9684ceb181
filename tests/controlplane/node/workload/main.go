// The program in the containers of the tests' real node.
//
//	workload [PATH...]         says what it sees, then runs until it is asked to end
//	workload -once [PATH...]   says it, and ends: an init container
//	workload -image NAME       writes an image of itself to standard output
//
// What it sees is one line of JSON: its environment, and what each PATH is. As
// the pause container of a pod it does the same.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// seen is the line of JSON.
type seen struct {
	Environment map[string]string `json:"environment"`
	// For each path `device`, `directory`, `file`, or null where nothing is.
	Paths map[string]*string `json:"paths"`
}

func main() {
	once := flag.Bool("once", false, "end at once, without waiting to be asked")
	image := flag.String("image", "", "write an image of this `name` that holds only this program")
	flag.Parse()
	// From the start: one that is asked to end before it waits is to end too.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	if err := run(*image, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
	if *image == "" && !*once {
		<-asked
	}
}

func run(image string, paths []string) error {
	if image != "" {
		return writeImage(os.Stdout, image)
	}
	return json.NewEncoder(os.Stdout).Encode(look(os.Environ(), paths))
}

func look(environment, paths []string) seen {
	found := seen{map[string]string{}, map[string]*string{}}
	for _, variable := range environment {
		name, value, _ := strings.Cut(variable, "=")
		found.Environment[name] = value
	}
	for _, path := range paths {
		found.Paths[path] = kind(path)
	}
	return found
}

// kind says what path is, and nil when it is not there.
func kind(path string) *string {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	what := "file"
	switch mode := info.Mode(); {
	case mode.IsDir():
		what = "directory"
	case mode&fs.ModeDevice != 0:
		what = "device"
	}
	return &what
}
