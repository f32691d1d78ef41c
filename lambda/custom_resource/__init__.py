"""What every function behind a CloudFormation custom resource shares: its request, and answering it exactly once.

def lambda_handler(event, context):
    request = Request.parse(event, physical_resource_id="…")
    serve(request, work=work, remaining_seconds=context.get_remaining_time_in_millis() / 1000)
"""

from custom_resource.protocol import (
    Answer,
    Answerer,
    AnswerNotDeliveredError,
    MalformedRequestError,
    Request,
    serve,
)

__all__ = ["Answer", "AnswerNotDeliveredError", "Answerer", "MalformedRequestError", "Request", "serve"]
