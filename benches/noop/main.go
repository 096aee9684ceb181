// An extender that does nothing: it decodes what kube-scheduler sends into Kubernetes' own types and answers
// that every node fits equally well. The floor for an extender in Go, to compare Tangram with in one run.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	extender "k8s.io/kube-scheduler/extender/v1"
)

func answer(respond func(extender.ExtenderArgs) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var args extender.ExtenderArgs
		if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(respond(args))
	}
}

func main() {
	http.HandleFunc("/scheduler/filter", answer(func(args extender.ExtenderArgs) any {
		return extender.ExtenderFilterResult{NodeNames: args.NodeNames}
	}))
	http.HandleFunc("/scheduler/prioritize", answer(func(args extender.ExtenderArgs) any {
		scores := make(extender.HostPriorityList, 0, len(*args.NodeNames))
		for _, name := range *args.NodeNames {
			scores = append(scores, extender.HostPriority{Host: name})
		}
		return scores
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	panic(http.Serve(listener, nil))
}
