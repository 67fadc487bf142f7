// Asks a server the questions of standard input with the clients that Grafana's data source and profilecli are made
// of: one JSON object a line, {"path", "headers", "json", "request"}, the request in base64 as the wire has it. Prints for
// each {"response"}, as protobuf in base64, or {"code", "message"} of a Connect error.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"

	"connectrpc.com/connect"
	"github.com/grafana/pyroscope/api/gen/proto/go/querier/v1/querierv1connect"
	"github.com/grafana/pyroscope/api/gen/proto/go/settings/v1/settingsv1connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type question struct {
	Path    string
	Headers map[string]string
	JSON    bool
	Request []byte
}

type answer struct {
	Response []byte `json:"response,omitempty"`
	Code     string `json:"code,omitempty"`
	Message  string `json:"message,omitempty"`
}

type headers map[string]string

func (given headers) RoundTrip(request *http.Request) (*http.Response, error) {
	for name, value := range given {
		request.Header.Set(name, value)
	}
	return http.DefaultTransport.RoundTrip(request)
}

func ask(base string, one question) (answer, error) {
	client := &http.Client{Transport: headers(one.Headers)}
	options := []connect.ClientOption{connect.WithSendGzip()}
	if one.JSON {
		options = append(options, connect.WithProtoJSON())
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(one.Path, "/"), "/")
	var of any
	switch service {
	case "querier.v1.QuerierService":
		of = querierv1connect.NewQuerierServiceClient(client, base, options...)
	case "settings.v1.RecordingRulesService":
		of = settingsv1connect.NewRecordingRulesServiceClient(client, base, options...)
	default:
		return answer{}, fmt.Errorf("no client for %s", one.Path)
	}
	method := reflect.ValueOf(of).MethodByName(name)
	if !method.IsValid() {
		return answer{}, fmt.Errorf("no method for %s", one.Path)
	}
	request := reflect.New(method.Type().In(1).Elem())
	message := reflect.New(request.Elem().FieldByName("Msg").Type().Elem())
	into := message.Interface().(proto.Message)
	var err error
	if one.JSON {
		err = protojson.Unmarshal(one.Request, into)
	} else {
		err = proto.Unmarshal(one.Request, into)
	}
	if err != nil {
		return answer{}, err
	}
	request.Elem().FieldByName("Msg").Set(message)
	results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), request})
	if failed, _ := results[1].Interface().(error); failed != nil {
		return answer{Code: connect.CodeOf(failed).String(), Message: failed.Error()}, nil
	}
	body, err := proto.Marshal(results[0].Elem().FieldByName("Msg").Interface().(proto.Message))
	return answer{Response: body}, err
}

func main() {
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var one question
		err := json.Unmarshal(lines.Bytes(), &one)
		if err == nil {
			var found answer
			if found, err = ask(os.Args[1], one); err == nil {
				err = out.Encode(found)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
