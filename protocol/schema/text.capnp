# Text services of rank 0: the vocabulary and the chat template live with the weights. Answered beside the steps, in the
# order of asking. `call` is chosen by the asker and echoed in each part of the answer.
@0xbbec71f8d42eef05;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rotulus::protocol::schema");

using Records = import "records.capnp";

struct ChatMessage {
  # One turn of a conversation.
  role @0 :Text;                  # "system", "user" or "assistant".
  content @1 :Text;               # What was said.
}

struct TokenizeDocument {
  # Coordinator: one document in pieces of a limited size. Each piece is answered by the ids that are final by then; all
  # together they are those of tokenizing the whole at once.
  call @0 :UInt64;                # The same for all pieces of one document.
  isFirst @1 :Bool;               # Begins the document, and forgets an earlier one of the same call.
  isLast @2 :Bool;                # Ends it.
  frame @3 :Records.Frame;        # With isFirst. chat puts the opening of the frame before the text, raw puts BOS.
  system :union {
    # With isFirst and a chat frame: the system message.
    absent @4 :Void;              # None was given: the template's own default.
    given @5 :Text;               # This one.
  }
  bytes @6 :Data;                 # The piece; may end inside a character.
}

struct EncodeText {
  # Coordinator: a short text to token ids.
  call @0 :UInt64;                # Echoed.
  kind @1 :Kind;                  # What the text is, and so what is put around it.
  text @2 :Data;                  # Of the kinds that take a text.
  messages @3 :List(ChatMessage); # Of the kinds that take messages.

  enum Kind {
    text @0;                      # Text, in which special tokens are text.
    textWithSpecial @1;           # Text, in which special tokens are parsed.
    question @2;                  # Messages behind the document of a chat context, and the template's tail.
    conversation @3;              # Messages as a whole prompt of the chat template.
    rawQuestion @4;               # Text behind the document of a raw context.
    prompt @5;                    # Text as a whole raw prompt: BOS in front where the file asks for it.
  }
}

struct EncodedText {
  # Worker: answers an EncodeText, or one piece of a TokenizeDocument, in one or more parts.
  call @0 :UInt64;                # Of the question.
  ids @1 :List(UInt32);           # Follow those of the part before.
  isLast @2 :Bool;                # This answer is complete; more pieces of a document may follow.
  error :union {
    # Whether it failed. A failure is the last part, and ends a document.
    none @3 :Void;                # It did not.
    code @4 :Records.ErrorCode;   # It did, in this way.
  }
  message @5 :Text;               # Of the failure; else "".
}

struct DecodeTokens {
  # Coordinator: token ids to text.
  call @0 :UInt64;                # Echoed.
  ids @1 :List(UInt32);           # Special tokens stand for their text.
}

struct RenderTemplate {
  # Coordinator: a conversation as the chat template renders it, as text.
  call @0 :UInt64;                # Echoed.
  messages @1 :List(ChatMessage); # The conversation.
}

struct DecodedText {
  # Worker: answers DecodeTokens and RenderTemplate, in one or more parts.
  call @0 :UInt64;                # Of the question.
  text @1 :Data;                  # Follows that of the part before; may be cut inside a character.
  pieces @2 :List(Data);          # DecodeTokens: the bytes of each id, behind those of the part before.
  isLast @3 :Bool;                # The answer is complete.
  error :union {
    # Whether it failed. A failure is the last part.
    none @4 :Void;                # It did not.
    code @5 :Records.ErrorCode;   # It did, in this way.
  }
  message @6 :Text;               # Of the failure; else "".
}
