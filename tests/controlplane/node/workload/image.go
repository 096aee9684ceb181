package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
)

// program is where an image has this program.
const program = "workload"

// writeImage writes an image as `docker save` does: a tar file with one layer,
// itself a tar file, that holds this program and nothing else.
func writeImage(to io.Writer, name string) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	self, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	if err := archive(&layer, member{program, 0o755, self}); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           runtime.GOOS,
		"config":       map[string]any{"Entrypoint": []string{"/" + program}},
		"rootfs": map[string]any{
			"type":     "layers",
			"diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))},
		},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config":   "config.json",
		"RepoTags": []string{name},
		"Layers":   []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	return archive(to,
		member{"manifest.json", 0o644, manifest},
		member{"config.json", 0o644, config},
		member{"layer.tar", 0o644, layer.Bytes()},
	)
}

// member is a file in a tar file.
type member struct {
	name    string
	mode    int64
	content []byte
}

func archive(to io.Writer, members ...member) error {
	writer := tar.NewWriter(to)
	for _, file := range members {
		header := tar.Header{Name: file.name, Mode: file.mode, Size: int64(len(file.content))}
		if err := writer.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := writer.Write(file.content); err != nil {
			return err
		}
	}
	return writer.Close()
}
